"""Quiescent users: those without pending writes."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from tests.schema.rows import ask
from tests.support.users import create_users
from tests.vectorstore.sync.points import one
from vectorstore.consistency.quiescence import quiescent_users
from vectorstore.models import QueueEntry

pytestmark = pytest.mark.django_db(transaction=True)


def transaction_settings() -> list[Any]:
    names = ("lock_timeout", "idle_in_transaction_session_timeout", "enable_seqscan", "enable_bitmapscan", "jit", "synchronous_commit")
    return [one("SELECT current_setting(%s)", name) for name in names]


def test_quiescent_users__in_a_transaction__keeps_its_settings_and_locks_nothing() -> None:
    """An erasure calls this inside its transaction. Its timeouts stay, and no other user is locked until its commit."""
    users = create_users(2)
    QueueEntry.objects.filter(user_id=users[0]).delete()
    with transaction.atomic():
        ask("SET LOCAL lock_timeout = '1234ms'; SET LOCAL synchronous_commit = 'local'")
        before = transaction_settings()
        assert quiescent_users(users).keys() == {users[0]}
        assert transaction_settings() == before
        assert one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()") == 0
        assert not connection.needs_rollback
        QueueEntry.objects.all().delete()
    assert quiescent_users(users).keys() == set(users)
