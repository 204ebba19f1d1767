"""Tables without checks of their dates, as a superuser can leave them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from tests.emptying import empty_the_tables

RANGE_CHECKS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE contype = 'c' AND connamespace = 'public'::regnamespace AND conname LIKE '%\\_range\\_check'
"""


@pytest.fixture
def dates_unchecked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Drop all checks of dates. The end of the test's transaction restores them. Without a transaction, the tables are emptied first."""
    request.getfixturevalue("transactional_db" if _has_no_transaction(request) else "db")
    with connection.cursor() as cursor:
        cursor.execute(RANGE_CHECKS)
        checks = cursor.fetchall()
        assert len(checks) > 30
        for table, name, _ in checks:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    yield
    if not connection.in_atomic_block:
        empty_the_tables()
        with connection.cursor() as cursor:
            for table, name, definition in checks:
                cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")


def _has_no_transaction(request: pytest.FixtureRequest) -> bool:
    marker = request.node.get_closest_marker("django_db")
    return "transactional_db" in request.fixturenames or bool(marker and marker.kwargs.get("transaction"))
