"""What tests of rebuilds look at: where the alias leads, what the rows say, and whether a collection is PostgreSQL's picture."""

from __future__ import annotations

from uuid import UUID

from findme.core.commands.progress import ignore_progress
from tests.factories import ProfileEmbeddingFactory
from vectorstore.catalog.alias import alias_target
from vectorstore.models import StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once
from vectorstore.verification.drift import DriftReport
from vectorstore.verification.merge_join import verify_collection


def begun(people: int = 0) -> list[UUID]:
    """A live collection, ``_v1``, with the points of so many people."""
    initialize()
    made = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(people))
    sync_once(timeout=60)
    return made


def version(number: int) -> str:
    return f"{collection_name()}_v{number}"


def states() -> dict[str, str]:
    """By the number of the collection."""
    rows = VectorCollection.objects.of(collection_name()).order_by("name").values_list("name", "state")
    return {name.rpartition("_")[2]: state for name, state in rows}


def leads_to() -> str | None:
    with qdrant() as client:
        target = alias_target(client)
    return target and target.rpartition("_")[2]


def there() -> set[str]:
    """The collections of the test's own in Qdrant, by number."""
    with qdrant() as client:
        names = [found.name for found in client.get_collections().collections]
    return {name.rpartition("_")[2] for name in names if name.startswith(f"{collection_name()}_")}


def wrong(number: int) -> dict[str, int]:
    """What is missing, orphaned or stale in a collection."""
    with DriftReport(version(number)) as found:
        verify_collection(found, building=False, ages_valid_on=StoreState.current().ages_refreshed_on, report=ignore_progress)
        return {str(kind): count for kind, count in found.kinds.items() if count}


def ids(number: int) -> set[str]:
    with qdrant() as client:
        return {str(record.id) for record in client.scroll(version(number), limit=10_000, with_payload=False)[0]}
