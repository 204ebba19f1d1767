"""Compare a table with the guide's and with that of the migrations.

Every object may be in either form: a conversion that was killed leaves a mixture.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from findme.core.triggers.problems import ALWAYS, ORIGIN, STATES
from findme.migrator.baseline.catalog import Column, Constraint, Index, Table
from findme.migrator.baseline.recognized import Difference
from findme.migrator.baseline.renames import find_renames, renamed
from findme.migrator.baseline.step import quote
from findme.migrator.baseline.taken import KEYWORDS, KINDS, own_name
from findme.migrator.baseline.temporary import temporary_constraints, temporary_indexes

_FEATURES = {
    "row level security": ("row level security", "no row level security", "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;"),
    "unlogged": ("an unlogged table", "a logged table", "ALTER TABLE {table} SET LOGGED;"),
    "inheritance": ("a table that inherits or has child tables", "a plain table", None),
    "rules": (
        "a table with rewrite rules",
        "no rewrite rule",
        "SELECT format('DROP RULE %I ON {table};', rulename) FROM pg_rules WHERE tablename = '{table}' \\gexec",
    ),
    "foreign keys off": ("foreign keys that are not enforced", "enforced ones", "ALTER TABLE {table} ENABLE TRIGGER ALL;"),
}
_COPY = (
    "CREATE TABLE {table}_copy (LIKE {table} INCLUDING ALL); INSERT INTO {table}_copy SELECT * FROM {table};"
    " ALTER {keyword} {table} RENAME TO {own}; ALTER TABLE {table}_copy RENAME TO {table};"
)
_STATES = STATES | {ALWAYS: "enabled always"}
_ENABLE = {ALWAYS: "ENABLE ALWAYS", ORIGIN: "ENABLE"}
_OF_RELATION = ("p", "u", "x")
"""The kinds of constraints that have an index of their name."""


def differences(found: Table, guide: Table, target: Table) -> Iterator[Difference]:
    """Yield what ``found`` has in neither form. Missing indexes and triggers are none: the conversion creates them."""
    if found.kind != "r":
        copy = _COPY.format(table=found.name, keyword=KEYWORDS.get(found.kind, "TABLE"), own=own_name(found.name))
        yield Difference(f"table {found.name}", f"a {KINDS.get(found.kind, found.kind)}", "a table", copy)
        return
    for feature in found.features:
        what, expected, statement = _FEATURES[feature]
        copy = _COPY.format(table=found.name, keyword="TABLE", own=own_name(found.name))
        yield Difference(f"table {found.name}", what, expected, (statement or copy).format(table=found.name))
    yield from _columns(found, guide, target)
    # What a different column changes, the correction of the column corrects.
    columns = {name for name, column in found.columns.items() if name not in guide.columns or column.type == guide.columns[name].type}
    yield from _constraints(found, guide, target, columns)
    yield from _taken_by_constraints(found, guide, target)
    yield from _taken_by_indexes(found, guide, target, columns)
    yield from _taken_temporary_names(found, guide, target)
    yield from _taken_by_triggers(found, guide, target)


def kept(found: Table, guide: Table, target: Table) -> Iterator[str]:
    """Yield the owner's own columns, constraints, indexes and triggers of the table.

    An object of the guide that only has another name is not the owner's: the conversion renames it.
    """
    yield from (f"column {found.name}.{name}" for name in found.columns if name not in guide.columns and name not in target.columns)
    after = renamed(found, find_renames(found, target, guide))
    for noun, kind in (("constraint", "constraints"), ("index", "indexes"), ("trigger", "triggers")):
        existing, expected = getattr(found, kind), getattr(guide, kind) | getattr(target, kind)
        if kind == "indexes":
            expected |= target.constraints  # the index of a new constraint is built first
            expected |= temporary_indexes(after, guide, target)
        elif kind == "constraints":
            expected |= temporary_constraints(after, target)
        other_names = {
            one.definition
            for table in (guide, target)
            for name, one in getattr(table, kind).items()
            if name in getattr(guide, kind) and name not in existing
        }
        for name, one in existing.items():
            if name not in expected and one.definition not in other_names:
                yield f"{noun} {name} on {found.name}"


def _columns(found: Table, guide: Table, target: Table) -> Iterator[Difference]:
    unknown = [column for name, column in found.columns.items() if name not in guide.columns and name not in target.columns]
    missing = [column for name, column in guide.columns.items() if name not in found.columns and name in target.columns]
    other_names = set()
    for column in missing:
        candidates = [one for one in unknown if one.type == column.type and one.name not in other_names]
        other = candidates[0] if len(candidates) == 1 and sum(one.type == column.type for one in missing) == 1 else None
        other_names |= {other.name} if other else set()
        yield _missing_column(found.name, column, target.columns[column.name], other)
    for name, column in guide.columns.items():
        if name in found.columns and name in target.columns:
            yield from _column(found.name, found.columns[name], column, target.columns[name])
    for name, column in target.columns.items():
        if name in found.columns and name not in guide.columns:
            yield from _added_column(found.name, found.columns[name], column)
    for column in unknown:
        if column.name not in other_names and column.not_null and column.default is None:
            statement = f"ALTER TABLE {found.name} ALTER COLUMN {quote(column.name)} DROP NOT NULL;"
            yield Difference(f"column {found.name}.{column.name}", "NOT NULL without a default", "nullable, or a default", statement)


def _missing_column(table: str, column: Column, target: Column, other: Column | None) -> Difference:
    if other is not None:
        statement = f"ALTER TABLE {table} RENAME COLUMN {quote(other.name)} TO {column.name};"
        return Difference(f"column {table}.{column.name}", f"a column {other.name} instead", _described(column), statement)
    default = f" DEFAULT {target.default}" if target.default else ""
    statement = f"ALTER TABLE {table} ADD COLUMN {column.name} {column.type}{default};"
    if column.not_null and not default:
        fill = f"UPDATE {table} SET {column.name} = ...;"  # noqa: S608  # a text to type
        statement = f"{statement} {fill} ALTER TABLE {table} ALTER COLUMN {column.name} SET NOT NULL;"
    return Difference(f"column {table}.{column.name}", "no such column", _described(column), statement)


def _described(column: Column) -> str:
    return " ".join(
        filter(None, (column.type, "NOT NULL" if column.not_null else "", f"DEFAULT {column.default}" if column.default else ""))
    )


def _column(table: str, found: Column, guide: Column, target: Column) -> Iterator[Difference]:
    subject, alter = f"column {table}.{found.name}", f"ALTER TABLE {table} ALTER COLUMN {found.name}"
    if found.type not in (guide.type, target.type):
        using = "" if guide.type.startswith(("character varying", "text")) else f" USING {found.name}::{guide.type}"
        yield Difference(subject, f"type {found.type}", f"type {guide.type}", f"{alter} TYPE {guide.type}{using};")
        return
    if found.generated:
        yield Difference(subject, f"generated as {found.default}", "an ordinary column", f"{alter} DROP EXPRESSION;")
        return
    if found.default not in (guide.default, target.default):
        expected = " or ".join(dict.fromkeys(one.default or "no default" for one in (guide, target)))
        drop = "DROP IDENTITY" if found.default == "IDENTITY" else "DROP DEFAULT"
        statement = f"{alter} SET DEFAULT {target.default};" if target.default else f"{alter} {drop};"
        yield Difference(
            subject,
            f"default {found.default}" if found.default else "no default",
            f"default {expected}".replace("default no", "no"),
            statement,
        )
    if found.not_null not in (guide.not_null, target.not_null):
        change, was, should = ("DROP", "NOT NULL", "nullable") if found.not_null else ("SET", "nullable", "NOT NULL")
        yield Difference(subject, was, should, f"{alter} {change} NOT NULL;")


def _added_column(table: str, found: Column, target: Column) -> Iterator[Difference]:
    """Compare a column that only the migrations create. The conversion may have added it without its default or NOT NULL yet."""
    stricter = found.not_null and not target.not_null
    if (found.type, found.generated) != (target.type, target.generated) or found.default not in (target.default, None) or stricter:
        statement = f"ALTER TABLE {table} RENAME COLUMN {found.name} TO {own_name(found.name)};"
        yield Difference(f"column {table}.{found.name}", _described(found), f"no column of this name, or {_described(target)}", statement)


def _constraints(found: Table, guide: Table, target: Table, columns: Collection[str]) -> Iterator[Difference]:
    present = {one.definition for one in found.constraints.values()}
    for name, expected in guide.constraints.items():
        if name not in target.constraints or present & {expected.definition, target.constraints[name].definition}:
            continue
        if not set(expected.columns) <= set(columns):
            continue
        add, other = f"ADD CONSTRAINT {name} {expected.definition};", found.constraints.get(name)
        if other is not None:
            statement, what = f"ALTER TABLE {found.name} DROP CONSTRAINT {name}, {add}", other.definition
        else:
            statement, what = f"ALTER TABLE {found.name} {_using_index(found, expected) or add}", "no such constraint"
        yield Difference(f"constraint {name} on {found.name}", what, expected.definition, statement)


def _using_index(found: Table, expected: Constraint) -> str | None:
    """Return how to turn a unique index with the name and the columns of the constraint into the constraint."""
    index = found.indexes.get(expected.name)
    if index is None or not index.valid or not _serves(index, expected):
        return None
    kind = "PRIMARY KEY" if expected.kind == "p" else "UNIQUE"
    return f"ADD CONSTRAINT {expected.name} {kind} USING INDEX {expected.name};"


def _serves(index: Index, constraint: Constraint) -> bool:
    """Return whether the constraint can use the index, as the conversion does for a new constraint."""
    plain = index.definition == f"USING btree ({', '.join(index.keys)})"
    return index.unique and plain and constraint.kind in ("p", "u") and index.keys == constraint.columns


def _taken_by_constraints(found: Table, guide: Table, target: Table) -> Iterator[Difference]:
    for name, one in found.constraints.items():
        expected = target.constraints.get(name)
        is_taken = expected is not None and name not in guide.constraints and one.definition != expected.definition
        if is_taken or (one.kind in _OF_RELATION and name in target.indexes):
            statement = f"ALTER TABLE {found.name} RENAME CONSTRAINT {name} TO {own_name(name)};"
            yield Difference(f"constraint {name} on {found.name}", one.definition, "a free name", statement)


def _taken_by_indexes(found: Table, guide: Table, target: Table, columns: Collection[str]) -> Iterator[Difference]:
    constraints = {name: one for name, one in target.constraints.items() if one.kind in _OF_RELATION}
    for name, one in found.indexes.items():
        expected = [table.indexes[name] for table in (guide, target) if name in table.indexes]
        if name in constraints:
            if _serves(one, constraints[name]):
                continue
        elif (
            not expected
            or any(one.is_like(other) for other in expected)
            or any(other.words & (guide.columns.keys() - set(columns)) for other in expected)
        ):
            continue
        statement = f"ALTER INDEX {name} RENAME TO {own_name(name)};"
        unique = "unique, " if one.unique else ""
        yield Difference(f"index {name} on {found.name}", f"{unique}{one.definition}", "a free name", statement)


def _taken_temporary_names(found: Table, guide: Table, target: Table) -> Iterator[Difference]:
    """Yield the owner's constraints and indexes that have a name which the conversion needs for a moment."""
    after = renamed(found, find_renames(found, target, guide))
    for name, definition in temporary_constraints(after, target).items():
        if name in found.constraints and found.constraints[name].definition != definition:
            statement = f"ALTER TABLE {found.name} RENAME CONSTRAINT {name} TO {own_name(name)};"
            yield Difference(f"constraint {name} on {found.name}", found.constraints[name].definition, "a free name", statement)
    for name, index in temporary_indexes(after, guide, target).items():
        if name in found.indexes and not found.indexes[name].is_like(index):
            statement = f"ALTER INDEX {name} RENAME TO {own_name(name)};"
            yield Difference(f"index {name} on {found.name}", found.indexes[name].definition, "a free name", statement)


def _taken_by_triggers(found: Table, guide: Table, target: Table) -> Iterator[Difference]:
    for name, one in found.triggers.items():
        expected = [table.triggers[name].definition for table in (guide, target) if name in table.triggers]
        if expected and one.definition not in expected:
            statement = f"ALTER TRIGGER {name} ON {found.name} RENAME TO {own_name(name)};"
            yield Difference(f"trigger {name} on {found.name}", one.definition, "a free name", statement)
            continue
        modes = [table.triggers[name].enabled for table in (target, guide) if name in table.triggers]
        if modes and one.enabled not in modes:
            statement = f"ALTER TABLE {found.name} {_ENABLE[modes[0]]} TRIGGER {name};"
            yield Difference(f"trigger {name} on {found.name}", _STATES[one.enabled], "enabled", statement)
