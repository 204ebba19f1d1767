"""How the tables are emptied after a test whose transactions were real.

Django's ``flush`` truncates every table, and then makes content types and permissions again: most of it, after each of some hundred tests, for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from django.test import TransactionTestCase

KEPT = {"django_content_type", "auth_permission"}
"""What migrations put there, and no test changes."""


@pytest.fixture(scope="session", autouse=True)
def _emptying() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TransactionTestCase, "_fixture_teardown", lambda _case: empty_the_tables())
        yield


def empty_the_tables() -> None:
    tables = sorted(set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT)
    names = [connection.ops.quote_name(table) for table in tables]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"(SELECT {number} FROM {name} LIMIT 1)" for number, name in enumerate(names)))
        if cursor.fetchall():
            cursor.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
            cursor.execute(f"TRUNCATE {', '.join(names)}")
            cursor.execute("ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only")
            cursor.execute("DELETE FROM vector_sync_queue")  # where the triggers have noted that everybody is gone
