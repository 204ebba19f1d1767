"""Before DDL, a migration locks the tables of models that it names, and no other."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from findme.migrator.baseline.adoption import _lock_named_tables
from tests.support.database import Database

STRONG = """
    SELECT relation::regclass::text FROM pg_locks JOIN pg_class c ON c.oid = relation
    WHERE pid = pg_backend_pid() AND relkind = 'r' AND mode IN ('ShareRowExclusiveLock', 'AccessExclusiveLock') ORDER BY 1
"""


def locked_by(statement: str, first: list[str]) -> list[str]:
    """Return the tables that are locked when the statement begins."""
    with transaction.atomic(), connection.cursor() as cursor:
        _lock_named_tables(first, lambda *_: None, statement, None, False, {"connection": connection})
        cursor.execute(STRONG)
        return [table for (table,) in cursor.fetchall()]


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ('CREATE TABLE "audit_log" ("name" text, "user_id" uuid REFERENCES "users" ("id"), "status" text)', ["users"]),
        ("CREATE TRIGGER status AFTER UPDATE ON matches FOR EACH ROW EXECUTE FUNCTION name()", ["matches", "users"]),
        ("CREATE FUNCTION name() RETURNS trigger LANGUAGE plpgsql AS $$ videos $$ -- video_calls", ["users"]),
        ("SELECT name FROM videos", []),
    ],
)
def test_lock_named_tables__words_of_the_owners_tables__are_not_locked(statement: str, tables: list[str], empty_guide: Database) -> None:
    empty_guide.execute("""
        CREATE TABLE name (id int); CREATE TABLE status (id int); CREATE SCHEMA other; CREATE TABLE other.audit_log (id int);
    """)
    empty_guide.execute(f"ALTER DATABASE {empty_guide.name} SET search_path = public, other")
    connection.close()
    assert locked_by(statement, ["users"]) == tables
