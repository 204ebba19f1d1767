"""Delete the points of a restored collection that differ from PostgreSQL, so that only missing ones are left to be written."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, PointIdsList

from accounts.age import today
from findme.core.commands.progress import Report, ignore_progress
from vectorstore.consistency.versions import allocate_version
from vectorstore.projection.points import expected_among
from vectorstore.qdrant import write
from vectorstore.qdrant.scroll import pages
from vectorstore.queue.deletions import note_removal
from vectorstore.verification.compare import Difference, compare


def remove_stale_points(client: QdrantClient, collection: str, report: Report = ignore_progress) -> int:
    """Delete every point that is nobody's, or another than the person's rows make today, ages too; how many are gone for it.

    For a collection that workers write already: what they have written since is newer than the version that is allocated here, and stays.
    """
    version = allocate_version()
    seen = removed = 0
    total = client.count(collection, exact=False).count
    for page in pages(collection):
        stale = compare(expected_among(page.ids), page, today()).differences
        if stale or page.numbers:
            removed += _delete(client, collection, stale, page.numbers, version)
        seen += len(page.ids) + len(page.numbers)
        report(min(seen, total), total)
    return removed


def _delete(client: QdrantClient, collection: str, stale: Mapping[UUID, Difference], numbers: list[int], version: int) -> int:
    """How many are gone. A number is nobody's id, and nobody writes it. What the condition of a write would take for newer than anything loses its version first."""
    people: list[ExtendedPointId] = [*map(str, stale)]
    unbeatable: list[ExtendedPointId] = [str(person) for person, difference in stale.items() if difference.unbeatable]
    note_removal()
    if unbeatable:
        client.delete_payload(collection, keys=["version"], points=unbeatable, wait=True)
    if people:
        write.delete(client, collection, people, version)
    if numbers:
        client.delete(collection, PointIdsList(points=[*numbers]), wait=True)
    ids = [*people, *numbers]
    return len(ids) - len(client.retrieve(collection, ids, with_payload=False, with_vectors=False))
