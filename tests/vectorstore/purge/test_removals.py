from datetime import datetime

import pytest
from django.db import connection, transaction
from qdrant_client import models

from accounts.models import User
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from vectorstore.consistency.deletions import last_deletion_time
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import remove_point
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def before(store: str) -> datetime:
    """Return the time of the last removal before the test: none was recorded yet."""
    initialize()
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('vector_last_deletion_at', 1)")
    return last_deletion_time()


def now() -> datetime:
    """Return the time of the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        time: datetime = cursor.fetchone()[0]
        return time


def test_last_deletion_time__worker_deletes_a_point__is_updated(before: datetime) -> None:
    embedding = ProfileEmbeddingFactory.create()
    user_without_point = UserFactory.create()
    sync_once()
    user_without_point.delete()
    sync_once()
    assert last_deletion_time() == before, "the user had no point"
    started_at = now()
    User.objects.filter(pk=embedding.pk).update(is_staff=True)
    sync_once()
    assert started_at < last_deletion_time() <= now()


def test_last_deletion_time__transaction_is_rolled_back__stays_updated(before: datetime) -> None:
    embedding = ProfileEmbeddingFactory.create()
    sync_once()
    started_at = now()
    with transaction.atomic():
        assert remove_point(embedding.pk)
        transaction.set_rollback(True)
    assert started_at < last_deletion_time() <= now()


def test_last_deletion_time__orphan_is_deleted__is_updated(before: datetime) -> None:
    with qdrant() as client:
        client.upsert(collection_name(), [models.PointStruct(id=7, vector=unit_vector(1))], wait=True)
    started_at = now()
    verify(repairing=True)
    assert started_at < last_deletion_time() <= now()
