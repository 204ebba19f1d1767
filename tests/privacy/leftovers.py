"""Find data of erased users in the tables. The owners of the data declare the columns, so new columns are included."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.apps import apps
from psycopg import sql

from privacy.registry import registry

TIMES = ("created_at", "updated_at")
"""Columns of an embedding that hold no data of the user."""
Value = tuple[str, str, str]
"""Table, key of the row, and column. The column is ``*`` for a row that must not exist."""
Values = dict[Value, Any]


def left_over(session: psycopg.Connection[Any], user_ids: Collection[UUID]) -> Values:
    """Return each protected value of these users that an anonymization would have cleared, and each row that it would have deleted."""
    found: Values = {}
    for label, protection in declared():
        model: Any = apps.get_model(label)
        users, *rules = protection.arguments(model)
        for row in _rows(session, model._meta.db_table, users.split(","), user_ids):
            key = str(row[model._meta.pk.column])
            if not rules:
                found[model._meta.db_table, key, "*"] = {column: value for column, value in row.items() if column not in TIMES}
            for rule in rules:
                column, kind, value = split(rule)
                if not is_cleared(row[column], kind, value.replace("{id}", key), row["erased_at"]):
                    found[model._meta.db_table, key, column] = row[column]
    return found


def rows_of(session: psycopg.Connection[Any], user_ids: Collection[UUID]) -> Values:
    """Return each row that refers to one of these users. After a deletion no such row exists."""
    return {
        (model._meta.db_table, str(row[model._meta.pk.column]), "*"): row
        for label, protection in declared()
        for model in [apps.get_model(label)]
        for row in _rows(session, model._meta.db_table, protection.arguments(model)[0].split(","), user_ids)
    }


def declared() -> Iterator[tuple[str, Any]]:
    for owner in registry.owners:
        yield from owner.protection.items()


def split(rule: str) -> tuple[str, str, str]:
    """Return the column, the kind of the rule ("", "=", "!" or "<"), and the value of "="."""
    if "=" in rule:
        column, _, value = rule.partition("=")
        return column, "=", value
    return (rule[:-1], rule[-1], "") if rule[-1] in "!<" else (rule, "", "")


def is_cleared(found: Any, kind: str, value: str, erased_at: str | None) -> bool:
    match kind:
        case "=":
            return found is None or (str(found).lower() if isinstance(found, bool) else found) == value
        case "!":
            return found is not None
        case "<":
            assert erased_at is not None, "the user is not in erased_users"
            return found is not None and datetime.fromisoformat(found) < datetime.fromisoformat(erased_at)
    return found in (None, "", {})


def _rows(session: psycopg.Connection[Any], table: str, users: list[str], user_ids: Collection[UUID]) -> Iterator[dict[str, Any]]:
    """Yield each row as JSON for each of these users that it refers to, with the time of the erasure."""
    for column in users:
        statement = sql.SQL(
            """
            SELECT (to_jsonb(t) || jsonb_build_object('erased_at', e.erased_at))::text FROM {table} t LEFT JOIN erased_users e ON e.user_id = t.{column}
            WHERE t.{column} = ANY(%s)
            """
        ).format(table=sql.Identifier(table), column=sql.Identifier(column))
        for (row,) in session.execute(statement, [list(user_ids)]):
            yield json.loads(row)
