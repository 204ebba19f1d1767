"""Plain SQL of other services, which names only the guide's columns, and the guide's own statements."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.db import connection

from tests.factories import ProfileEmbeddingFactory, UserFactory, VideoCallFactory, VideoFactory
from tests.schema.guide import ANONYMIZE, GUIDE, HARD_DELETE, SOFT_DELETE, TABLES
from tests.schema.rows import ANN, BOB, CEM, MATCH, VIDEO, ask, insert, settle

TIME = "2026-01-05 09:00:00+00"
EVERY_COLUMN: dict[str, tuple[str, ...]] = {
    "users": (str(ANN), "a@example.com", "hash", "A", "1990-01-01", "male", "Tea", r"\N", "t", "t", TIME, TIME, r"\N"),
    "videos": (str(VIDEO), str(ANN), "https://a", r"\N", "120", "1", "verified", "0.5", r"\N", '{"a": 1}', TIME, TIME, r"\N"),
    "matches": (str(MATCH), str(ANN), str(BOB), "53", "2026", "pending", "0.5", r"\N", "accepted", TIME, TIME, TIME, r"\N"),
    "video_calls": (str(CEM), str(MATCH), str(BOB), str(ANN), "s", TIME, r"\N", r"\N", "active", r"\N", "5", "{}", TIME),
}
"""A row with every column of the guide, in the guide's order, in COPY's text format."""


def columns_of_the_guide(table: str, *, required: bool) -> list[str]:
    """Return every column, or the required ones: NOT NULL without a default, and foreign keys."""
    body = re.search(rf"CREATE TABLE {table} \((.*?)\n\);", GUIDE, re.DOTALL)
    assert body is not None
    lines = [line.strip() for line in body[1].splitlines() if re.match(r"    [a-z_]+ ", line)]
    needed = [line for line in lines if ("NOT NULL" in line and "DEFAULT" not in line) or "REFERENCES" in line]
    return [line.split()[0] for line in (needed if required else lines)]


def rows_before(table: str) -> None:
    """Insert the rows that a row of ``table`` refers to."""
    for key in (ANN, BOB) if table != "users" else ():
        insert("users", id=key)
    if table == "video_calls":
        insert("matches", id=MATCH, matched_user_id=BOB)


@pytest.mark.django_db
@pytest.mark.parametrize("required", [True, False], ids=["required", "all"])
@pytest.mark.parametrize("table", TABLES)
def test_insert__with_the_guides_columns_only(table: str, required: bool) -> None:
    rows_before(table)
    columns = columns_of_the_guide(table, required=required)
    everything = dict(zip(columns_of_the_guide(table, required=False), EVERY_COLUMN[table], strict=True))
    values = ", ".join("NULL" if everything[column] == r"\N" else f"'{everything[column]}'" for column in columns)
    ask(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})")
    settle()
    assert ask(f"SELECT count(*) FROM {table} WHERE id IS NOT NULL AND created_at IS NOT NULL") == [(1,)]


@pytest.mark.django_db
@pytest.mark.parametrize("required", [True, False], ids=["required", "all"])
@pytest.mark.parametrize("table", TABLES)
def test_copy__with_the_guides_columns_only(table: str, required: bool) -> None:
    rows_before(table)
    columns = columns_of_the_guide(table, required=required)
    everything = dict(zip(columns_of_the_guide(table, required=False), EVERY_COLUMN[table], strict=True))
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        copy.write("\t".join(everything[column] for column in columns) + "\n")
    settle()
    assert ask(f"SELECT count(*) FROM {table}") == [(1,)]


@pytest.mark.django_db
def test_insert__defaults_are_the_guides() -> None:
    user, other = insert("users"), insert("users")
    match = insert("matches", user_id=user, matched_user_id=other)
    insert("videos", user_id=user)
    insert("video_calls", match_id=match, caller_id=user, callee_id=other)
    assert ask("SELECT DISTINCT verified, active, created_at = now(), updated_at = now(), deleted_at FROM users") == [
        (False, True, True, True, None)
    ]
    assert ask("SELECT status, metadata, created_at = now(), updated_at = now(), deleted_at FROM videos") == [
        ("processing", "{}", True, True, None)
    ]
    assert ask("SELECT status, created_at = now(), updated_at = now(), deleted_at FROM matches") == [("pending", True, True, None)]
    assert ask("SELECT status, metadata, created_at = now() FROM video_calls") == [("initiated", "{}", True)]


def test_anonymize__with_the_guides_statement(users: None) -> None:
    ask(ANONYMIZE.replace("user_uuid", str(ANN)))
    settle()
    assert ask("SELECT email, full_name, bio, password_hash, deleted_at = now() FROM users WHERE id = %s", ANN) == [
        (f"deleted_{ANN}@findme.ai", "Deleted User", None, "", True)
    ]


def test_soft_delete__with_the_guides_statement(users: None) -> None:
    ask(SOFT_DELETE.replace("user_uuid", str(ANN)))
    assert ask("SELECT id FROM users WHERE deleted_at = now()") == [(ANN,)]
    assert ask("SELECT count(*) FROM videos") == [(1,)]


@pytest.mark.django_db
def test_hard_delete__with_the_guides_statement__deletes_all_rows_of_a_staff_member_and_no_others() -> None:
    calls = VideoCallFactory.create_batch(2)
    user, stays = calls[0].caller, calls[1].caller
    for person in (user, stays):
        ProfileEmbeddingFactory.create(user=person)
        person.groups.add(Group.objects.get_or_create(name="Editors")[0])
        person.user_permissions.add(Permission.objects.all()[0])
        LogEntry.objects.log_actions(person.pk, [person], 2, change_message="")
    VideoFactory.create(user=user, deleted=True)
    video = VideoFactory.create(user=user)
    type(user).objects.filter(pk=user.pk).update(is_staff=True, video=video)
    settle()

    ask(HARD_DELETE.replace("user_uuid", str(user.pk)))
    settle()

    assert _rows_with(user.pk) == {
        "erased_users",
        "pending_actions",
        "vector_sync_queue",
    }  # the queue keeps the id until the point is deleted
    assert _rows_with(stays.pk) == {
        "users", "matches", "video_calls", "profile_embeddings", "users_groups", "users_user_permissions", "django_admin_log",
        "vector_sync_queue",
    }  # fmt: skip
    assert ask("SELECT count(*) FROM videos") == [(0,)]


def _rows_with(key: Any) -> set[str]:
    """Return the tables with a row that contains ``key``."""
    tables = [name for (name,) in ask("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")]
    return {name for name in tables if ask(f"SELECT 1 FROM {name} row WHERE strpos(row::text, %s) > 0 LIMIT 1", str(key))}


def test_hard_delete__of_a_user_without_other_rows(users: None) -> None:
    ask(HARD_DELETE.replace("user_uuid", str(CEM)))
    settle()
    assert ask("SELECT count(*) FROM users") == [(2,)]


@pytest.mark.parametrize("table", ["users", "videos", "matches", "profile_embeddings"])
def test_updated_at__is_the_time_of_the_transaction_that_changed_the_row(users: None, table: str) -> None:
    if table == "profile_embeddings":
        insert(table, user_id=ANN)
    for stated in ("updated_at", "'2001-01-01'", "NULL"):
        assert ask(f"UPDATE {table} SET updated_at = {stated} RETURNING updated_at = now(), created_at <= updated_at")[0] == (True, True)


def test_updated_at__on_insert_is_the_given_value(users: None) -> None:
    key = insert("users", updated_at="2001-01-01+00")
    assert ask("SELECT updated_at = '2001-01-01+00' FROM users WHERE id = %s", key) == [(True,)]


@pytest.mark.django_db
def test_factories__write_a_user_that_plain_sql_can_read() -> None:
    user = UserFactory.create(email="Jane@Example.com")
    assert ask("SELECT id FROM users WHERE lower(email) = lower('JANE@example.COM')") == [(user.pk,)]
