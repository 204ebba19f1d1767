"""The rules of the migrations that rows of the guide's tables can break, derived from the catalog of a fresh ``migrate``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from django.apps import apps

from findme.core.db.constraints import model_of
from findme.migrator.baseline.catalog import Constraint, Index, Table


class Kind(Enum):
    NOT_NULL = "n"
    CHECK = "c"
    UNIQUE = "u"
    KEY = "p"
    FOREIGN_KEY = "f"
    TRIGGER = "t"


@dataclass(frozen=True, slots=True)
class Rule:
    """``name`` is that of the constraint, index or trigger, or ``table.column`` for NOT NULL.

    ``condition`` is SQL about the columns of ``table``: it is true for each row that breaks the rule.
    """

    kind: Kind
    name: str
    table: str
    condition: str
    sentence: str

    @property
    def is_of_one_row(self) -> bool:
        """Whether the condition reads nothing but the row itself."""
        return self.kind in (Kind.NOT_NULL, Kind.CHECK)

    @property
    def query(self) -> str:
        """The statement that finds the rows, as typed in psql."""
        return f"SELECT * FROM {self.table} WHERE {self.condition};"  # noqa: S608  # SQL that PostgreSQL printed


def rules_of(tables: Mapping[str, Table], target: Mapping[str, Table]) -> list[Rule]:
    """Return the rules that rows of ``tables`` can break, by table.

    A column that the table does not have yet gives no rule. A unique rule that the table already enforces gives none. A foreign key gives one
    always: rows that were written without triggers (``session_replication_role``) can break it.
    """
    return [rule for name, found in tables.items() for rule in _rules(found, target[name], tables)]


def _rules(found: Table, target: Table, tables: Mapping[str, Table]) -> Iterator[Rule]:
    for name, column in target.columns.items():
        if column.not_null and name in found.columns and not found.columns[name].not_null:
            yield Rule(Kind.NOT_NULL, f"{found.name}.{name}", found.name, f"{name} IS NULL", f"The column {name} needs a value.")
    absent = target.columns.keys() - found.columns.keys()
    for one in target.constraints.values():
        if absent.isdisjoint(one.columns) and (condition := _condition(one, found, tables)):
            yield Rule(Kind(one.kind), one.name, found.name, condition, sentence_of(found.name, one.name))
    for index in target.indexes.values():
        if index.unique and absent.isdisjoint(index.words) and not _is_enforced(index, found.indexes.values()):
            condition = _duplicates(found.name, index.keys, index.predicate)
            yield Rule(Kind.UNIQUE, index.name, found.name, condition, sentence_of(found.name, index.name))
    yield from _trigger_rules(found.name)


def _condition(constraint: Constraint, found: Table, tables: Mapping[str, Table]) -> str | None:
    match constraint.kind:
        case "c":
            # PostgreSQL prints a CASE on several lines.
            return re.sub(r"\s*\n\s*", " ", f"NOT {constraint.definition.removeprefix('CHECK ')}")
        case "f":
            return _dangling(constraint, found.name, tables)
        case "p" | "u" if not _is_enforced(constraint, found.constraints.values()) and not _contains_key(constraint, found):
            return _duplicates(found.name, constraint.columns, None)
    return None


def _is_enforced(one: Constraint | Index, existing: Iterable[Constraint | Index]) -> bool:
    return any(other.valid and other.definition == one.definition for other in existing)


def _contains_key(constraint: Constraint, found: Table) -> bool:
    """Return whether the columns contain the primary key. Then they are unique in any case."""
    return any(other.kind == "p" and set(other.columns) < set(constraint.columns) for other in found.constraints.values())


def _duplicates(table: str, keys: Iterable[str], predicate: str | None) -> str:
    keys = list(keys)
    listed, positions = ", ".join(keys), ", ".join(str(position) for position in range(1, len(keys) + 1))
    where = f" WHERE {predicate}" if predicate else ""
    repeated = f"({listed}) IN (SELECT {listed} FROM {table}{where} GROUP BY {positions} HAVING count(*) > 1)"  # noqa: S608  # from the catalog
    return f"{predicate} AND {repeated}" if predicate else repeated


def _dangling(constraint: Constraint, table: str, tables: Mapping[str, Table]) -> str:
    given = " AND ".join(f"{column} IS NOT NULL" for column in constraint.columns)
    if constraint.to_table not in tables:
        return given  # the new table will be empty
    pairs = zip(constraint.to_columns, constraint.columns, strict=True)
    equal = " AND ".join(f"referenced.{other} = {table}.{own}" for other, own in pairs)
    return f"{given} AND NOT EXISTS (SELECT FROM {constraint.to_table} AS referenced WHERE {equal})"


def _trigger_rules(table: str) -> Iterator[Rule]:
    """Yield the rules that triggers enforce. An app lists its conditions in ``trigger_rule_conditions`` of its AppConfig."""
    for config in apps.get_app_configs():
        for name, (own, condition) in getattr(config, "trigger_rule_conditions", {}).items():
            if own == table:
                yield Rule(Kind.TRIGGER, name, table, condition, sentence_of(table, name))


def sentence_of(table: str, name: str) -> str:
    """Return the error message of the model for this rule, or a general sentence."""
    model = model_of(table)
    for constraint in model._meta.constraints if model is not None else ():
        if constraint.name == name:
            return str(constraint.get_violation_error_message())
    sentence = getattr(model, "trigger_rules", {}).get(name)
    return str(sentence or "There is another row with this key.")
