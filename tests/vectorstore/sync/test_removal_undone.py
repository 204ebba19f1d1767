"""A point that was deleted for a transaction that did not end in its commit comes back."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.db import connection, transaction

from tests.factories import ProfileEmbeddingFactory
from vectorstore.models import QueueEntry
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import remove_point, sync_users
from vectorstore.sync.removal import point_of
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)


class GoneWrong(Exception):
    """Whatever it was."""


def test_remove_point__the_transaction_is_rolled_back(store: str) -> None:
    initialize()
    person = ProfileEmbeddingFactory.create().pk
    sync_users([person])

    with pytest.raises(GoneWrong):
        _remove_and_fail(person)

    assert point_of(person) is None
    assert sync_once().written == 1
    assert point_of(person) is not None


@transaction.atomic
def _remove_and_fail(person: UUID) -> None:
    assert remove_point(person)
    raise GoneWrong


def test_remove_point__the_transaction_is_committed(store: str) -> None:
    initialize()
    person = ProfileEmbeddingFactory.create().pk
    sync_users([person])

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [person])
        assert remove_point(person)

    assert sync_once().written == 0
    assert point_of(person) is None and not QueueEntry.objects.exists()
