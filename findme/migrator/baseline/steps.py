"""The steps from the tables of the guide to those of the migrations, computed from the difference between both.

A database that a killed run has left has a smaller difference. So the next run continues, and nothing notes the progress.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from findme.migrator.baseline.catalog import Column, Constraint, Index, Table
from findme.migrator.baseline.renames import find_renames, renamed
from findme.migrator.baseline.scratch import GUIDE_TABLES
from findme.migrator.baseline.step import Step, not_null_name, quote, temporary_name
from findme.migrator.baseline.temporary import (
    CHECK,
    DEFERRED,
    FOREIGN_KEY,
    is_deferred_only,
    is_replaced,
    nullable_columns,
    temporary_constraints,
)
from findme.migrator.table_locks import BLOCK_ALL, BLOCK_WRITES

UNIQUE = "u"

_REFERENCED = re.compile(r" REFERENCES (?P<table>\"(?:[^\"]|\"\")+\"|\w+)\(")
_UNIQUE = re.compile(r"UNIQUE (\([^()]*\))")


def conversion_steps(
    existing: Mapping[str, Table], target: Mapping[str, Table], guide: Mapping[str, Table], checks: Mapping[str, str]
) -> list[Step]:
    """Return the steps for the tables ``existing``, in the order in which they must be done. ``checks`` is what ``check_definitions`` returns.

    New rows must keep the rules after the first steps, before the existing rows are checked. A foreign key to a table that is not in ``existing``
    is left out: call this again when that table has its key. Triggers belong to the migrations. Raises UserFacingError if an object has a name of
    the target and another definition.
    """
    steps: list[Step] = []
    changes: list[_Change] = []
    for name in (name for name in GUIDE_TABLES if name in existing):
        renames = find_renames(existing[name], target[name], guide[name])
        steps += [rename.step for rename in renames]
        change = _Change(renamed(existing[name], renames), target[name], guide[name], checks)
        change.require_own_temporary_constraints()
        changes.append(change)
    for phase in (_prepare, _validate_checks, _build_indexes, lambda change: _foreign_keys(change, existing), _finish):
        for change in changes:
            steps += phase(change)
    return steps


@dataclass(frozen=True, slots=True)
class _Change:
    """A table that exists, after the renames, and how the migrations and the guide create it."""

    existing: Table
    target: Table
    guide: Table
    checks: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def table(self) -> str:
        return quote(self.name)

    def missing_columns(self) -> list[Column]:
        return [column for name, column in self.target.columns.items() if name not in self.existing.columns]

    def nullable_columns(self) -> list[str]:
        return nullable_columns(self.existing, self.target)

    def missing(self, kind: str) -> list[Constraint]:
        return [one for name, one in self.target.constraints.items() if one.kind == kind and name not in self.existing.constraints]

    def different(self, kind: str) -> list[Constraint]:
        """Return the constraints that exist in the guide's form, which is not that of the target."""
        found = []
        for name, one in self.target.constraints.items():
            now = self.existing.constraints.get(name)
            if one.kind == kind and now is not None and now.definition != one.definition:
                if name not in self.guide.constraints or now.definition != self.guide.constraints[name].definition:
                    raise other_definition(f"constraint {name}", self.name)
                found.append(one)
        return found

    def deferred(self) -> list[Constraint]:
        return [one for one in self.different(FOREIGN_KEY) if is_deferred_only(self.existing.constraints[one.name], one)]

    def replaced(self, kind: str) -> list[Constraint]:
        """Return the constraints that a new one under a temporary name replaces."""
        return [one for one in self.different(kind) if is_replaced(self.existing.constraints[one.name], one)]

    def require_own_temporary_constraints(self) -> None:
        """Raise UserFacingError if a constraint of the owner has a temporary name: it would be taken for one of a killed run, and dropped."""
        for name, definition in temporary_constraints(self.existing, self.target).items():
            if name in self.existing.constraints and self.existing.constraints[name].definition != definition:
                raise other_definition(f"constraint {name}", self.name)

    def temporary_checks(self) -> dict[str, str]:
        """Return the CHECKs that hold a rule until the last step: their definitions by their names."""
        checks = {temporary_name(one.name): self.check(one) for one in self.replaced(CHECK)}
        return checks | {not_null_name(self.name, name): f"CHECK (({quote(name)} IS NOT NULL))" for name in self.nullable_columns()}

    def check(self, constraint: Constraint) -> str:
        """Return the SQL after ADD CONSTRAINT."""
        return self.checks.get(constraint.name, constraint.definition)

    def is_valid(self, constraint: str) -> bool:
        return constraint in self.existing.constraints and self.existing.constraints[constraint].valid


def other_definition(what: str, table: str) -> UserFacingError:
    return UserFacingError(
        f"The {what} of {table} has another definition than FindMe's. Rename or drop it, then run manage.py baseline again."
    )


def _prepare(change: _Change) -> Iterator[Step]:
    """Add columns and defaults, and the CHECKs that new rows must pass. No row is read or rewritten."""
    columns, checks = change.missing_columns(), {one.name: change.check(one) for one in change.missing(CHECK)} | change.temporary_checks()
    checks = {name: definition for name, definition in checks.items() if name not in change.existing.constraints}
    defaults = [column for column in change.target.columns.values() if _has_other_default(column, change.existing.columns)]
    clauses = [
        *(f"ADD COLUMN {_declaration(column)}" for column in columns),
        *(f"ALTER COLUMN {quote(column.name)} SET DEFAULT {column.default}" for column in defaults),
        *(f"ADD CONSTRAINT {quote(name)} {definition} NOT VALID" for name, definition in checks.items()),
    ]
    if clauses:
        parts = [(len(columns), "column"), (len(defaults), "default"), (len(checks), "check")]
        what = ", ".join(counted(number, noun) for number, noun in parts if number)
        yield Step(f"{change.name}: {what} for new rows", (_alter(change, clauses),), ((change.name, BLOCK_ALL),))


def _has_other_default(column: Column, existing: Mapping[str, Column]) -> bool:
    return column.name in existing and column.default not in (None, existing[column.name].default)


def _declaration(column: Column) -> str:
    """Return the column for ADD COLUMN. PostgreSQL stores a constant default once and rewrites no row."""
    if column.generated:
        raise AssertionError(f"{column.name} is generated: adding it would rewrite the table")
    default = "" if column.default is None else f" DEFAULT {column.default}"
    return f"{quote(column.name)} {column.type}{default}{' NOT NULL' if column.not_null else ''}"


def _validate_checks(change: _Change) -> Iterator[Step]:
    """Check the existing rows once for all CHECKs of the table, while others read and write it."""
    wanted = [*(name for name, one in change.target.constraints.items() if one.kind == CHECK), *change.temporary_checks()]
    names = [name for name in wanted if not change.is_valid(name)]
    if names:
        statement = _alter(change, [f"VALIDATE CONSTRAINT {quote(name)}" for name in names])
        yield Step(f"{change.name}: validate {counted(len(names), 'check')}", (statement,))


def _build_indexes(change: _Change) -> Iterator[Step]:
    for name, index in change.target.indexes.items():
        now, guides = change.existing.indexes.get(name), change.guide.indexes.get(name)
        is_replaced = now is not None and guides is not None and now.is_like(guides) and not now.is_like(index)
        yield from (_replace_index if is_replaced else _build)(change, index)
    for constraint in change.missing(UNIQUE):
        columns = _UNIQUE.fullmatch(constraint.definition)
        if columns is None:
            raise AssertionError(f"{constraint.name} has options: {constraint.definition}")
        yield from _build(change, Index(constraint.name, True, f"USING btree {columns[1]}", True))
        statement = _alter(change, [f"ADD CONSTRAINT {quote(constraint.name)} UNIQUE USING INDEX {quote(constraint.name)}"])
        yield Step(f"{change.name}: constraint {constraint.name}", (statement,), ((change.name, BLOCK_ALL),))


def _build(change: _Change, index: Index) -> Iterator[Step]:
    """Build the index, or keep it if it is there. An INVALID one is from a killed run."""
    found = change.existing.indexes.get(index.name)
    if found is not None and not found.is_like(index):
        raise other_definition(f"index {index.name}", change.name)
    if found is not None and not found.valid:
        yield Step(f"{change.name}: drop the INVALID index {index.name}", (f"DROP INDEX CONCURRENTLY IF EXISTS {quote(index.name)}",))
    if found is None or not found.valid:
        unique = "UNIQUE " if index.unique else ""
        statement = f"CREATE {unique}INDEX CONCURRENTLY {quote(index.name)} ON {change.table} {index.definition}"
        yield Step(f"{change.name}: build the {unique.lower()}index {index.name}", (statement,), index=index.name)


def _replace_index(change: _Change, index: Index) -> Iterator[Step]:
    """Build the new form of an index of the guide under a temporary name, then exchange both."""
    name = temporary_name(index.name)
    yield from _build(change, replace(index, name=name))
    statements = (f"DROP INDEX {quote(index.name)}", f"ALTER INDEX {quote(name)} RENAME TO {quote(index.name)}")
    yield Step(f"{change.name}: replace the index {index.name}", statements, ((change.name, BLOCK_ALL),))


def _foreign_keys(change: _Change, existing: Collection[str]) -> Iterator[Step]:
    """Add the missing foreign keys and those that will replace another, and defer those of the guide: that needs no check of the rows."""
    if deferred := change.deferred():
        statement = _alter(change, [f"ALTER CONSTRAINT {quote(one.name)}{DEFERRED}" for one in deferred])
        yield Step(f"{change.name}: defer {counted(len(deferred), 'foreign key')}", (statement,), ((change.name, BLOCK_ALL),))
    wanted = {one.name: one for one in change.missing(FOREIGN_KEY)}
    wanted |= {temporary_name(one.name): one for one in change.replaced(FOREIGN_KEY)}
    for name, one in wanted.items():
        if referenced_table(one) in existing and name not in change.existing.constraints:
            statement = _alter(change, [f"ADD CONSTRAINT {quote(name)} {one.definition} NOT VALID"])
            locks = tuple((table, BLOCK_WRITES) for table in dict.fromkeys((change.name, referenced_table(one))))
            yield Step(f"{change.name}: foreign key {one.name} for new rows", (statement,), locks)
    unchecked = {name: one for name, one in change.target.constraints.items() if one.kind == FOREIGN_KEY} | wanted
    for name, one in unchecked.items():
        if referenced_table(one) in existing and not change.is_valid(name):
            yield Step(f"{change.name}: validate the foreign key {one.name}", (_alter(change, [f"VALIDATE CONSTRAINT {quote(name)}"]),))


def referenced_table(foreign_key: Constraint) -> str:
    found = _REFERENCED.search(foreign_key.definition)
    assert found is not None
    return found["table"].strip('"').replace('""', '"')


def _finish(change: _Change) -> Iterator[Step]:
    """Replace the temporary CHECKs by NOT NULL, and each old constraint by its new form, in one transaction: no rule is missing at any time."""
    columns, foreign_keys = change.nullable_columns(), change.replaced(FOREIGN_KEY)
    replaced = [*change.replaced(CHECK), *foreign_keys]
    dropped = [*(not_null_name(change.name, name) for name in columns), *(one.name for one in replaced)]
    if not dropped:
        return
    statements = [_alter(change, [f"ALTER COLUMN {quote(name)} SET NOT NULL" for name in columns])] if columns else []
    statements += [_alter(change, [f"DROP CONSTRAINT {quote(name)}" for name in dropped])]
    statements += [_alter(change, [f"RENAME CONSTRAINT {quote(temporary_name(one.name))} TO {quote(one.name)}"]) for one in replaced]
    parts = [(len(columns), "NOT NULL column"), (len(replaced), "replaced constraint")]
    what = ", ".join(counted(number, noun) for number, noun in parts if number)
    tables = dict.fromkeys((change.name, *map(referenced_table, foreign_keys)))
    yield Step(f"{change.name}: {what}", tuple(statements), tuple((table, BLOCK_ALL) for table in tables))


def _alter(change: _Change, clauses: Collection[str]) -> str:
    return f"ALTER TABLE {change.table} {', '.join(clauses)}"
