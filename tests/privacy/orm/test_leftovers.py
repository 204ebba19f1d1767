"""Without the triggers the helpers of the tests find all restored data of erased users."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import Model

from accounts.models import User
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from tests.privacy.leftovers import left_over, rows_of, split
from tests.privacy.life import full_life
from tests.privacy.orm.stale import PROTECTED, Outcome, again, attempt, read
from tests.privacy.orm.ways import Calls, Way, bulk_create_update_conflicts
from tests.privacy.shelf import Shelf

UPSERT = Way(bulk_create_update_conflicts, updates=True, inserts=True)
NOT_SET = {"users.is_superuser", "users.deleted_at", "matches.created_at"}
"""Protected columns that are empty in ``full_life``, or have a permitted value."""

pytestmark = pytest.mark.django_db


def without_triggers(*models: type[Model]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for model in models:
            for event in ("inserted", "updated", *(["reduced"] if model is User else [])):
                cursor.execute(f"ALTER TABLE {model._meta.db_table} DISABLE TRIGGER erased_users_{event}")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


@pytest.mark.parametrize("model", PROTECTED, ids=lambda model: model.__name__)
def test_left_over__reports_each_protected_column(shelf: Shelf, model: Any) -> None:
    person = full_life()
    stale = read(model, [person.pk])
    anonymize(person.pk)
    assert left_over(connection.connection, [person.pk]) == {}
    without_triggers(model)
    assert attempt(UPSERT, Calls(), [again(one) for one in stale]) == (Outcome.PASSED, None)
    table, (_, *rules) = model._meta.db_table, PROTECTED[model].arguments(model)
    protected = {f"{table}.{split(rule)[0]}" for rule in rules} or {f"{table}.*"}
    found = {f"{table}.{column}" for table, _, column in left_over(connection.connection, [person.pk])}
    assert protected - NOT_SET <= found
    assert found <= protected


def test_rows_of__finds_a_deleted_user_who_was_inserted_again(shelf: Shelf) -> None:
    person = full_life()
    stale = {model: read(model, [person.pk]) for model in PROTECTED}
    erase(person.pk)
    assert rows_of(connection.connection, [person.pk]) == {}
    without_triggers(*PROTECTED)
    for objects in stale.values():
        assert attempt(UPSERT, Calls(), [again(one) for one in objects]) == (Outcome.PASSED, None)
    assert {table for table, _, _ in rows_of(connection.connection, [person.pk])} == {model._meta.db_table for model in PROTECTED}
