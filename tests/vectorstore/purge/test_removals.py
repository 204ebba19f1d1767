from datetime import datetime

import pytest
from django.db import connection, transaction
from qdrant_client import models

from accounts.models import User
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.queue.deletions import last_removal
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import remove_point
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def before(store: str) -> datetime:
    """When somebody was removed before: nobody, ever."""
    initialize()
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('vector_last_deletion_at', 1)")
    return last_removal()


def now() -> datetime:
    """By the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
        return found


def test_last_removal__a_worker(before: datetime) -> None:
    someone = ProfileEmbeddingFactory.create()
    without_a_point = UserFactory.create()
    sync_once()
    without_a_point.delete()
    sync_once()
    assert last_removal() == before, "nobody had a point"
    begun = now()
    User.objects.filter(pk=someone.pk).update(is_staff=True)
    sync_once()
    assert begun < last_removal() <= now()


def test_last_removal__a_transaction_that_is_rolled_back(before: datetime) -> None:
    someone = ProfileEmbeddingFactory.create()
    sync_once()
    begun = now()
    with transaction.atomic():
        assert remove_point(someone.pk)
        transaction.set_rollback(True)
    assert begun < last_removal() <= now()


def test_last_removal__a_point_of_nobody(before: datetime) -> None:
    with qdrant() as client:
        client.upsert(collection_name(), [models.PointStruct(id=7, vector=unit_vector(1))], wait=True)
    begun = now()
    verify(repairing=True)
    assert begun < last_removal() <= now()
