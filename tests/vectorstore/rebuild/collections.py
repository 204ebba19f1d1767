"""State of collections for tests of rebuilds: alias, rows, and differences from PostgreSQL."""

from __future__ import annotations

from uuid import UUID

from findme.core.commands.progress import ignore_progress
from tests.factories import ProfileEmbeddingFactory
from tests.support.collections import version
from vectorstore.catalog.alias import alias_target
from vectorstore.models import StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once
from vectorstore.verification.drift import DriftReport
from vectorstore.verification.merge_join import verify_collection


def create_live(users: int = 0) -> list[UUID]:
    """Create the live collection ``_v1`` and ``users`` users with points. Return their ids in order."""
    initialize()
    created = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(users))
    sync_once(timeout=60)
    return created


def states() -> dict[str, str]:
    """Return the state of each registered collection by its suffix, such as ``v1``."""
    rows = VectorCollection.objects.of(collection_name()).order_by("name").values_list("name", "state")
    return {name.rpartition("_")[2]: state for name, state in rows}


def live_version() -> str | None:
    """Return the suffix of the live collection."""
    with qdrant() as client:
        target = alias_target(client)
    return target and target.rpartition("_")[2]


def existing_versions() -> set[str]:
    """Return the suffixes of this test's collections in Qdrant."""
    with qdrant() as client:
        names = [collection.name for collection in client.get_collections().collections]
    return {name.rpartition("_")[2] for name in names if name.startswith(f"{collection_name()}_")}


def differences(number: int) -> dict[str, int]:
    """Count differences from PostgreSQL by kind."""
    with DriftReport(version(number)) as drift:
        verify_collection(drift, building=False, ages_valid_on=StoreState.current().ages_refreshed_on, report=ignore_progress)
        return {str(kind): count for kind, count in drift.kinds.items() if count}


def point_ids(number: int) -> set[str]:
    with qdrant() as client:
        return {str(record.id) for record in client.scroll(version(number), limit=10_000, with_payload=False)[0]}
