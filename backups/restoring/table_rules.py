"""What the live database requires of the rows of a table: its columns, keys, references and checks, read from PostgreSQL's catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from backups.postgresql.tables import Table, dumped_tables, named_tables
from findme.core.dumps.local_rows import reason_not_to_copy
from findme.core.errors import UserFacingError
from privacy.declarations import LinkKind
from privacy.registry import registry

COLUMNS = """
    SELECT quote_ident(attname), format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""
KEY = """
    SELECT quote_ident(a.attname), format_type(a.atttypid, NULL) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = %s AND i.indisprimary AND i.indnkeyatts = 1
"""
REFERENCES = """
    WITH named AS (SELECT attrelid, attnum, quote_ident(attname) AS name FROM pg_attribute)
    SELECT c.confrelid,
        ARRAY(SELECT name FROM unnest(c.conkey) WITH ORDINALITY AS k(n, i) JOIN named ON attrelid = c.conrelid AND attnum = k.n ORDER BY i),
        ARRAY(SELECT name FROM unnest(c.confkey) WITH ORDINALITY AS k(n, i) JOIN named ON attrelid = c.confrelid AND attnum = k.n ORDER BY i),
        CASE WHEN c.confdeltype = 'n' THEN ARRAY(
            SELECT name FROM unnest(coalesce(c.confdelsetcols, c.conkey)) AS k(n) JOIN named ON attrelid = c.conrelid AND attnum = k.n
        ) ELSE '{}' END
    FROM pg_constraint c WHERE c.conrelid = %s AND c.contype = 'f' ORDER BY c.conname
"""
# The definition of one column of an index has no operator class and no collation.
UNIQUE = """
    SELECT ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, false) FROM generate_series(1, i.indnkeyatts) AS n ORDER BY n),
        coalesce(pg_get_expr(i.indpred, i.indrelid), 'true')
    FROM pg_index i WHERE i.indrelid = %s AND i.indisunique AND NOT i.indisprimary ORDER BY i.indexrelid::regclass::text
"""
CHECKS = "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conrelid = %s AND contype = 'c' ORDER BY conname"
STAFF = {"users": "is_staff OR is_superuser"}
"""Which rows are accounts of staff, by table."""
# The trigger require_users_of_match (calls/migrations/sql/0001_users_of_match.up.sql) refuses other calls.
SAME_USERS = """
    p.id = s.match_id AND LEAST(p.user_id, p.matched_user_id) = LEAST(s.caller_id, s.callee_id)
    AND GREATEST(p.user_id, p.matched_user_id) = GREATEST(s.caller_id, s.callee_id)
"""


@dataclass(frozen=True, slots=True)
class Reference:
    """A row of the table ``parent`` that must exist. ``condition`` is SQL over this row ``p`` and the row ``s`` that refers to it.

    A row with NULL in one of ``columns`` refers to nothing. ``cleared`` are the columns that the foreign key sets to NULL if the parent is deleted. If
    there are none, a row cannot be without its parent. ``key`` is the column with the primary key of the parent, if there is one.
    """

    parent: Table
    columns: tuple[str, ...]
    condition: str
    cleared: tuple[str, ...] = ()
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Unique:
    """A unique index: SQL of its columns, and the condition of the rows that it has."""

    expressions: tuple[str, ...]
    condition: str


@dataclass(frozen=True, slots=True)
class TableRules:
    """The rules of one table. All names of columns are quoted. ``users`` are the columns that refer to users."""

    table: Table
    key: str
    key_type: str
    columns: Mapping[str, str]
    users: tuple[str, ...]
    references: tuple[Reference, ...]
    unique: tuple[Unique, ...]
    checks: tuple[str, ...]

    @property
    def staff(self) -> str:
        """Return the condition of the rows that are accounts of staff."""
        return STAFF.get(self.table.name, "false")

    @property
    def column_list(self) -> str:
        return ", ".join(self.columns)


def rules_of(live: BaseDatabaseWrapper, names: Iterable[str]) -> list[TableRules]:
    """Return the rules of the named tables: a table comes after those that its rows cannot be without.

    Raise UserFacingError for a name without a table, and for a table whose rows cannot be brought back.
    """
    tables = named_tables(live, names)
    models = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}
    users = {table.oid: _columns_of_users(table, models.get(table.name) if table.is_visible else None) for table in tables}
    known = {table.oid: table for table in dumped_tables(live)}
    return _in_order([_rules(live, table, users[table.oid], known) for table in tables])


def require_same_columns(scratch: BaseDatabaseWrapper, rules: Sequence[TableRules]) -> None:
    """Raise UserFacingError if the backup lacks one of the tables, or has other columns in it."""
    tables = {str(table): table for table in dumped_tables(scratch)}
    for one in rules:
        if (found := tables.get(str(one.table))) is None:
            raise UserFacingError(f"The backup has no table {str(one.table)!r}: nothing was changed. Leave it out of --tables.")
        if (columns := dict(_rows(scratch, COLUMNS, found))) != dict(one.columns):
            differing = min(name for name in columns.keys() | one.columns.keys() if columns.get(name) != one.columns.get(name))
            raise UserFacingError(
                f"The table {one.table.name!r} has another column {differing} in the backup: nothing was changed. Restore the whole backup with --into,"
                " and migrate it."
            )


def _columns_of_users(table: Table, model: type[Model] | None) -> tuple[str, ...]:
    """Return the columns of the table that refer to users. Raise UserFacingError if triggers do not keep erased users out of the table."""
    if model is None:
        raise UserFacingError(f"FindMe does not know which users have rows in {str(table)!r}: nothing was changed. {_possible()}")
    if (reason := reason_not_to_copy(model)) is not None:
        raise UserFacingError(f"The rows of {table.name!r} cannot be brought back: {reason}. Nothing was changed. {_possible()}")
    if model not in (can := _models()):
        raise UserFacingError(
            f"The rows of {table.name!r} cannot be brought back: one can be a permission that was revoked, or name an erased user. Nothing was changed."
            f" {_possible()}"
        )
    return tuple(_quoted(model, name) for name in can[model])


def _models() -> dict[type[Model], tuple[str, ...]]:
    """Return the models whose users are all known and protected by triggers, each with the fields that refer to users."""
    found: dict[type[Model], tuple[str, ...]] = {}
    for owner in registry.owners:
        for label, protection in owner.protection.items():
            model = apps.get_model(label)
            links = {link.field for link in owner.tables[label].links if link.kind in (LinkKind.FOREIGN_KEY, LinkKind.ID)}
            if reason_not_to_copy(model) is None and links == {link.field for link in owner.tables[label].links} == set(protection.users):
                found[model] = protection.users
    return found


def _possible() -> str:
    return f"Possible tables: {', '.join(sorted(model._meta.db_table for model in _models()))}."


def _quoted(model: type[Model], name: str) -> str:
    column = str(model._meta.get_field(name).column)  # type: ignore[union-attr]  # no relation from another table
    return column if column.isidentifier() and column.islower() else f'"{column}"'


def _rules(live: BaseDatabaseWrapper, table: Table, users: tuple[str, ...], known: Mapping[int, Table]) -> TableRules:
    ((key, key_type),) = _rows(live, KEY, table)
    return TableRules(
        table=table,
        key=key,
        key_type=key_type,
        columns=dict(_rows(live, COLUMNS, table)),
        users=users,
        references=tuple(_references(live, table, known)),
        unique=tuple(Unique(tuple(expressions), condition) for expressions, condition in _rows(live, UNIQUE, table)),
        checks=tuple(check for (check,) in _rows(live, CHECKS, table)),
    )


def _references(live: BaseDatabaseWrapper, table: Table, known: Mapping[int, Table]) -> Iterable[Reference]:
    for parent_oid, columns, parent_columns, cleared in _rows(live, REFERENCES, table):
        parent = known[parent_oid]
        pairs = dict(zip(parent_columns, columns, strict=True))
        condition = " AND ".join(f"p.{theirs} = s.{ours}" for theirs, ours in pairs.items())
        if (table.name, parent.name) == ("video_calls", "matches"):
            condition = SAME_USERS
        keys = [name for name, _ in _rows(live, KEY, parent)]
        yield Reference(parent, tuple(columns), condition, tuple(cleared), pairs.get(keys[0]) if keys else None)


def _in_order(rules: Sequence[TableRules]) -> list[TableRules]:
    by_oid = {one.table.oid: one for one in rules}
    needed = {
        oid: [ref.parent.oid for ref in one.references if not ref.cleared and ref.parent.oid in by_oid and ref.parent.oid != oid]
        for oid, one in by_oid.items()
    }
    return [by_oid[oid] for oid in TopologicalSorter(needed).static_order()]


def _rows(connection: BaseDatabaseWrapper, query: str, table: Table) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, [table.oid])
        return list(cursor.fetchall())
