"""How the tables are emptied after a test whose transactions were real.

Django's ``flush`` truncates every table, and then makes content types and permissions again: most of it, after each of some hundred tests, for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.test import TransactionTestCase

KEPT = {"django_content_type", "auth_permission"}
"""What migrations put there, and no test changes."""
AUDIT_LOG = '"audit_log"'
SMALL = 1 << 19
"""In bytes, of a table and its long values, with rows that were deleted before."""


@pytest.fixture(scope="session", autouse=True)
def _emptying() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TransactionTestCase, "_fixture_teardown", lambda _case: empty_the_tables())
        yield


def empty_the_tables() -> None:
    """A few rows are deleted, which takes a tenth of the time of ``TRUNCATE``. It makes new files for every table and index, and shrinks them."""
    tables = sorted(set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT)
    names = [connection.ops.quote_name(table) for table in tables]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(f"(SELECT {number}, pg_table_size('{name}') FROM {name} LIMIT 1)" for number, name in enumerate(names))
        )
        if not (found := cursor.fetchall()):
            return
        # Whatever another session has not committed yet is waited for.
        cursor.execute(f"LOCK {', '.join(names)} IN ACCESS EXCLUSIVE MODE")
        if max(size for _, size in found) > SMALL or not _without_triggers(cursor):
            _truncate(cursor, names)
        else:
            if AUDIT_LOG in {names[number] for number, _ in found}:  # its triggers refuse a deletion
                _truncate(cursor, [AUDIT_LOG])
            cursor.execute("; ".join(f"DELETE FROM {name}" for name in names))
            cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute("DELETE FROM erased_users")  # where the triggers have noted who is gone
        cursor.execute("DELETE FROM vector_sync_queue")


def _truncate(cursor: CursorWrapper, names: list[str]) -> None:
    cursor.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
    cursor.execute(f"TRUNCATE {', '.join(names)}")
    cursor.execute("ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only")


def _without_triggers(cursor: CursorWrapper) -> bool:
    """Let rows be deleted in any order, if this role may: foreign keys are triggers."""
    cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    if cursor.fetchone() != (True,):
        return False
    cursor.execute("SET LOCAL session_replication_role = replica")
    return True
