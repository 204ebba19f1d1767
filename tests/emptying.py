"""Empty the tables after a test with ``transaction=True``.

Django's ``flush`` truncates every table and creates all content types and permissions again, which takes far longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.test import TransactionTestCase

KEPT = {"django_content_type", "auth_permission"}
"""Tables whose rows the migrations insert, and no test changes."""
APPEND_ONLY = {
    '"audit_log"': ("audit_log_append_only", "audit_log_kept", "audit_log_expired"),
    '"erasure_ledger"': ("erasure_ledger_append_only", "erasure_ledger_expired", "erasure_ledger_chained", "erasure_ledger_checked"),
    '"ledger_checkpoints"': ("ledger_checkpoints_append_only", "ledger_checkpoints_valid"),
    '"data_subject_requests"': ("data_subject_requests_not_truncated",),
    '"request_recipients"': ("request_recipients_not_truncated",),
    '"erasures"': ("erasures_not_truncated",),
    '"erasure_steps"': ("erasure_steps_not_truncated",),
    '"holds"': ("holds_not_truncated",),
}
"""Tables that refuse a change or a deletion, with the triggers that do it."""
SMALL = 1 << 19
"""Bytes of a table with its long values and its deleted rows."""


@pytest.fixture(scope="session", autouse=True)
def _emptying() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TransactionTestCase, "_fixture_teardown", lambda _case: empty_the_tables())
        yield


def empty_the_tables() -> None:
    """Delete the rows of small tables, which takes a tenth of the time of ``TRUNCATE``: that creates new files."""
    tables = sorted(set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT)
    names = [connection.ops.quote_name(table) for table in tables]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(f"(SELECT {number}, pg_table_size('{name}') FROM {name} LIMIT 1)" for number, name in enumerate(names))
        )
        if not (found := cursor.fetchall()):
            return
        # Wait for open transactions of other sessions.
        cursor.execute(f"LOCK {', '.join(names)} IN ACCESS EXCLUSIVE MODE")
        if max(size for _, size in found) > SMALL or not _without_triggers(cursor):
            _truncate(names)
        else:
            if {names[number] for number, _ in found} & APPEND_ONLY.keys():
                _truncate(list(APPEND_ONLY))
            cursor.execute("; ".join(f"DELETE FROM {name}" for name in names if name not in APPEND_ONLY))
            cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute("DELETE FROM erased_users")  # the triggers have inserted the deleted users
        cursor.execute("DELETE FROM vector_sync_queue; DELETE FROM pending_actions")


@contextmanager
def without_append_only() -> Iterator[CursorWrapper]:
    """Let the tables that only grow be changed in one transaction, which begins here."""
    triggers = [(table, trigger) for table, triggers in APPEND_ONLY.items() for trigger in triggers]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("; ".join(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}" for table, trigger in triggers))
        yield cursor
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("; ".join(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}" for table, trigger in triggers))


def _truncate(names: list[str]) -> None:
    with without_append_only() as cursor:
        cursor.execute('TRUNCATE "holds"')  # a hold keeps the rows of other tables
        cursor.execute(f"TRUNCATE {', '.join(names)}")


def _without_triggers(cursor: CursorWrapper) -> bool:
    """Switch off triggers, so that rows can be deleted in any order. Return whether the role may do that."""
    cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    if cursor.fetchone() != (True,):
        return False
    cursor.execute("SET LOCAL session_replication_role = replica")
    return True
