"""The acceptance check: what must hold before a collection goes live."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from django.db import connection
from qdrant_client import QdrantClient
from qdrant_client.models import VectorParams

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from findme.core.waiting import Deadline
from vectorstore.catalog.alias import alias_target
from vectorstore.models import ProfileEmbedding, StoreState
from vectorstore.rebuild.recall import recall, sampled_vectors
from vectorstore.verification.drift import DriftReport
from vectorstore.verification.merge_join import verify_collection

LESS = 0.01
"""By how much recall@10 may be below the live collection's."""
WITHOUT_LIVE = 0.97
"""What it has to be where there is none to compare with."""
COUNT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class AcceptanceResult:
    """What was accepted: how many ``people`` are to have a point and how many ``points`` there are; those who were just being written are
    ``pending``. ``live_recall`` is None where nothing was live, or where ``--min-recall`` decided."""

    collection: str
    users: int
    points: int
    pending: int
    recall: float
    live_recall: float | None


def accept(client: QdrantClient, collection: str, *, min_recall: float | None = None, report: Report = ignore_progress) -> AcceptanceResult:
    """Prove COLLECTION: nobody missing, orphaned or stale, as many points as people, and recall@10 at most 0.01 below the live one's, or at least
    MIN_RECALL where it is given. Changes nothing. Raises UserFacingError with what failed, and StoreUnavailable."""
    return check_search(client, check_points(collection, report), min_recall=min_recall)


@dataclass(frozen=True, slots=True)
class CheckedPoints:
    """A collection of which every point has been compared with PostgreSQL, and is right or pending."""

    collection: str
    users: int
    points: int
    pending: int


def check_points(collection: str, report: Report = ignore_progress) -> CheckedPoints:
    """The first half of the acceptance check, as ``verify_qdrant`` does it. Takes the embedded store's folder a page at a time."""
    with DriftReport(collection) as found:
        users = verify_collection(found, building=False, ages_valid_on=StoreState.current().ages_refreshed_on, report=report)
        if found.differing or found.unallocated:
            raise UserFacingError(_what_differs(found))
        return CheckedPoints(collection, users, found.points, found.pending + found.quarantined)


def check_search(client: QdrantClient, proven: CheckedPoints, *, min_recall: float | None = None) -> AcceptanceResult:
    """The second half: what Qdrant counts, and what a search finds."""
    _refuse_counts(client, proven.collection)
    reached, live = _recalls(client, proven.collection, min_recall)
    return AcceptanceResult(proven.collection, proven.users, proven.points, proven.pending, reached, live)


def _what_differs(found: DriftReport) -> str:
    counts = [f"{found.kinds[kind]:,} {kind}" for kind in found.examples if found.kinds[kind]]
    counts += [f"{found.unallocated:,} of a version that was never allocated"] if found.unallocated else []
    examples = ", ".join([repr(one) for ids in found.examples.values() for one in ids][:3])
    such_as = f" (such as {examples})" if examples else ""
    return (
        f"{found.name!r} is not accepted: {', '.join(counts)}{such_as}. The alias was not moved."
        " Run manage.py verify_qdrant --repair and manage.py sync_qdrant --once, and then this again."
    )


def _refuse_counts(client: QdrantClient, collection: str) -> None:
    """By what Qdrant itself counts, with whoever is just being written as the margin; for a moment it may count what is deleted."""
    for _ in Deadline(COUNT_SECONDS).polls():
        margin = _in_motion()
        users, points = ProfileEmbedding.objects.projectable().count(), client.count(collection, exact=True).count
        margin = max(margin, _in_motion())
        if abs(users - points) <= margin:
            return
    raise UserFacingError(
        f"{collection!r} is not accepted: Qdrant counts {counted(points, 'point')} for {counted(users, 'user')}, of whom {counted(margin, 'waits', 'wait')} to be written."
        " The alias was not moved. Look at Qdrant's log, and run it again."
    )


def _in_motion() -> int:
    """People whose point somebody is going to write, or could not."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT user_id FROM vector_sync_queue UNION SELECT user_id FROM vector_sync_leases UNION SELECT user_id FROM vector_sync_quarantine
            ) AS users
            """
        )
        return int(cursor.fetchone()[0])


def _recalls(client: QdrantClient, collection: str, min_recall: float | None) -> tuple[float, float | None]:
    """Of the collection and of the live one, by the same vectors."""
    vectors = sampled_vectors(client, collection)
    reached = recall(client, collection, vectors)
    live = _comparable(client, collection) if min_recall is None else None
    live_recall = None if live is None else recall(client, live, vectors)
    least = min_recall if min_recall is not None else WITHOUT_LIVE if live_recall is None else live_recall - LESS
    if reached < least - 1e-9:
        raise UserFacingError(_too_little(collection, reached, least, live_recall))
    return reached, live_recall


def _comparable(client: QdrantClient, collection: str) -> str | None:
    """The live collection, if there is one that can be searched by the same vectors."""
    live = alias_target(client)
    return live if live is not None and _size(client, live) == _size(client, collection) else None


def _size(client: QdrantClient, collection: str) -> int | None:
    vectors = client.get_collection(collection).config.params.vectors
    return vectors.size if isinstance(vectors, VectorParams) else None


def _too_little(collection: str, reached: float, least: float, live_recall: float | None) -> str:
    than = "" if live_recall is None else f", {LESS} below the live collection's"
    return (
        f"{collection!r} is not accepted: its recall@10 is {reached:.4f}, and is to be at least {least:.4f}{than}. The alias was not moved."
        f" Run it again with --min-recall {floor(100 * reached) / 100:.2f} to take it as it is, or drop it with manage.py reindex_qdrant --drop-retained."
    )
