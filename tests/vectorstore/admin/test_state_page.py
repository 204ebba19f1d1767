from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.privacy.audit import audited
from tests.support.staff import said, signed_in, staff, superuser
from vectorstore import status
from vectorstore.admin.status_page import duration
from vectorstore.catalog import registry
from vectorstore.consistency.comparison_due import note_comparison_due
from vectorstore.models import QuarantinedUser, QueueEntry, SyncLease, Verification
from vectorstore.qdrant.connection import qdrant
from vectorstore.schema.initialize import initialize

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:vectorstore_quarantineduser_state")
TRIGGER_QUERIES = 5
"""Queries of PostgreSQL's catalogs: two for the applied migrations, three for functions, triggers and foreign keys."""


def page_text(**query: str) -> str:
    return " ".join(signed_in(superuser()).get(PAGE, query).content.decode().split())


def test_page__no_data__names_the_commands(settings: Settings) -> None:
    """The page does not connect to Qdrant."""
    settings.QDRANT_URL = "http://127.0.0.1:9"
    page = page_text()
    assert "None yet: <code>manage.py verify_qdrant</code>." in page
    assert "None yet: <code>manage.py init_qdrant</code>." in page
    assert "The stores have no checkpoint yet." in page and "Query Qdrant" in page


def test_page__lost_triggers__are_named(db: None) -> None:
    assert "These triggers are not as migrated" not in page_text()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE profile_embeddings DISABLE TRIGGER vector_sync_deleted")
    page = page_text()
    assert '<li class="break-words">trigger vector_sync_deleted on profile_embeddings: disabled</li>' in page
    assert "<code>manage.py verify_qdrant --repair</code> repairs them" in page


def test_page__comparison_is_due__is_named(db: None) -> None:
    assert "have not been compared since" not in page_text()
    note_comparison_due()
    assert "and the stores have not been compared since. <code>manage.py verify_qdrant --repair</code> compares them." in page_text()


def test_page__shows_queue_collections_verification_and_quarantined_users(settings: Settings) -> None:
    alias = settings.QDRANT_COLLECTION
    registry.register(f"{alias}_v1", registry.State.LIVE, "")
    registry.register(f"{alias}_v2", registry.State.BUILDING, "")
    registry.mark_failed(f"{alias}_v2", "Qdrant ran out of room")
    QueueEntry.objects.create(user_id=uuid4())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE vector_sync_queue SET queued_at = clock_timestamp() - interval '3 hours'")
    QueueEntry.objects.create(user_id=uuid4())
    SyncLease.objects.create(user_id=uuid4(), worker_id=uuid4(), expires_at=datetime.now(UTC) + timedelta(minutes=1))
    QuarantinedUser.objects.create(user_id=uuid4(), reason="refused", collection=f"{alias}_v1")
    counts = {
        "points": 40,
        "missing": 2,
        "orphaned": 1,
        "stale payload": 0,
        "stale vector": 0,
        "foreign vector": 0,
        "pending": 3,
        "quarantined": 1,
        "unallocated": 0,
    }
    result = {"users": 42, "quarantined": 1, "restore_detected": True, "collections": {f"{alias}_v1": counts}}
    Verification.objects.create(alias=alias, started_at=datetime.now(UTC), result=result)
    page = page_text()
    assert '>2<span class="block text-sm">oldest entry: 3 hours</span>' in page
    assert f"{alias}_v1" in page and "Qdrant ran out of room" in page
    assert "a store was restored to an older copy" in page and "3 differences" in page and "42 users." in page
    assert f'<a href="{reverse("admin:vectorstore_quarantineduser_changelist")}"' in page


def test_page__large_tables__need_no_more_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page counts up to a limit, and sends as many queries as for empty tables."""
    client = signed_in(superuser())
    client.get(PAGE)
    with CaptureQueriesContext(connection) as before:
        client.get(PAGE)
    monkeypatch.setattr(status, "MAX_COUNT", 3)
    monkeypatch.setattr(status, "QUEUE_STATUS", status.QUEUE_STATUS.replace("LIMIT 1001", "LIMIT 4"))
    QueueEntry.objects.bulk_create(QueueEntry(user_id=uuid4()) for _ in range(6))
    for number in range(1, 5):
        registry.register(f"x_v{number}", registry.State.RETAINED, "")
    with CaptureQueriesContext(connection) as after:
        assert "more than 3" in client.get(PAGE).content.decode()
    assert len(after.captured_queries) == len(before.captured_queries) <= 6 + TRIGGER_QUERIES
    assert not any("LIMIT" not in query["sql"] and "vector_sync_queue" in query["sql"] for query in after.captured_queries)


def test_plan__shows_what_init_qdrant_would_do(store: str) -> None:
    assert "collection " in page_text(plan="1")
    initialize()
    ProfileEmbeddingFactory.create()
    assert "_v1 is as defined." in page_text(plan="1")


def test_plan__names_each_difference(embedded_qdrant: Path, settings: Settings) -> None:
    initialize()
    with qdrant() as client:
        client.update_collection(f"{settings.QDRANT_COLLECTION}_v1", metadata={"findme_database": str(uuid4())})
    page = page_text(plan="1")
    assert "<li" in page and "Nothing:" not in page


def test_plan__qdrant_unavailable__shows_the_error_and_the_rest(settings: Settings) -> None:
    settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = "http://127.0.0.1:9", "", 0
    page = page_text(plan="1")
    assert "<strong>Qdrant could not be queried.</strong> Nothing answers at QDRANT_URL &#x27;http://127.0.0.1:9&#x27;" in page
    assert "On the queue" in page


def test_page__needs_permission_to_view_quarantined_users() -> None:
    UserFactory.create()
    assert signed_in(staff()).get(PAGE).status_code == 403
    client = signed_in(staff("vectorstore.view_quarantineduser"))
    assert client.get(PAGE).status_code == 200
    assert client.post(PAGE).status_code == 403
    QuarantinedUser.objects.create(user_id=uuid4(), reason="refused", collection="x_v1")
    assert "Retry all of them" not in client.get(PAGE).content.decode()
    assert client.put(PAGE).status_code == 405


def test_page__retry_all__queues_every_quarantined_user() -> None:
    for _ in range(3):
        QuarantinedUser.objects.create(user_id=uuid4(), reason="refused", collection="x_v1")
    client = signed_in(staff("vectorstore.view_quarantineduser", "vectorstore.retry_quarantined"))
    assert "Retry all of them" in client.get(PAGE).content.decode()
    assert said(client.post(PAGE)) == ["3 users are on the queue again."]
    assert (QuarantinedUser.objects.count(), QueueEntry.objects.filter(urgent=True).count()) == (0, 3)
    assert {entry[0] for entry in audited()} == {"retry"} and {entry[2] for entry in audited()} == set(
        QueueEntry.objects.values_list("user_id", flat=True)
    )
    assert "Retry all of them" not in client.get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 seconds"), (90, "90 seconds"), (121, "2 minutes"), (7300, "2 hours"), (200_000, "2 days")]
)
def test_duration__uses_the_largest_fitting_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
