"""A point that a transaction removed comes back if the transaction is rolled back."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.db import connection, transaction

from tests.factories import ProfileEmbeddingFactory
from vectorstore.models import QueueEntry
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of, remove_point, sync_users
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)


class SomeError(Exception):
    """Any error."""


def test_remove_point__transaction_is_rolled_back__the_point_comes_back(store: str) -> None:
    initialize()
    user_id = ProfileEmbeddingFactory.create().pk
    sync_users([user_id])

    with pytest.raises(SomeError):
        _remove_and_fail(user_id)

    assert point_of(user_id) is None
    assert sync_once().written == 1
    assert point_of(user_id) is not None


@transaction.atomic
def _remove_and_fail(user_id: UUID) -> None:
    assert remove_point(user_id)
    raise SomeError


def test_remove_point__transaction_is_committed__the_point_stays_removed(store: str) -> None:
    initialize()
    user_id = ProfileEmbeddingFactory.create().pk
    sync_users([user_id])

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [user_id])
        assert remove_point(user_id)

    assert sync_once().written == 0
    assert point_of(user_id) is None and not QueueEntry.objects.exists()
