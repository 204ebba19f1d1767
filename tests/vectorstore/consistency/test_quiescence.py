"""Which users are quiescent."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from tests.support.users import create_users
from tests.vectorstore.sync.points import one, plain_sql
from vectorstore.consistency.quiescence import quiescent_users
from vectorstore.models import QueueEntry

pytestmark = pytest.mark.django_db(transaction=True)


def settings_of_the_transaction() -> list[Any]:
    names = ("lock_timeout", "idle_in_transaction_session_timeout", "enable_seqscan", "enable_bitmapscan", "jit", "synchronous_commit")
    return [one("SELECT current_setting(%s)", name) for name in names]


def test_quiescent_users__leaves_no_trace_in_the_callers_transaction() -> None:
    """An erasure asks inside its transaction: it keeps its timeouts, and no other user is locked until its commit."""
    there = create_users(2)
    QueueEntry.objects.filter(user_id=there[0]).delete()
    with transaction.atomic():
        plain_sql("SET LOCAL lock_timeout = '1234ms'; SET LOCAL synchronous_commit = 'local'")
        before = settings_of_the_transaction()
        assert quiescent_users(there).keys() == {there[0]}
        assert settings_of_the_transaction() == before
        assert one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()") == 0
        assert not connection.needs_rollback
        QueueEntry.objects.all().delete()
    assert quiescent_users(there).keys() == set(there)
