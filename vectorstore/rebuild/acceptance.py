"""The acceptance check: what must hold before a collection goes live."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import floor

from django.db import connection
from qdrant_client import QdrantClient
from qdrant_client.models import VectorParams

from findme.core.commands.progress import Report, ignore_progress
from findme.core.plurals import counted
from findme.core.waiting import Deadline
from vectorstore.catalog.alias import alias_target
from vectorstore.catalog.registry import AliasNotMoved
from vectorstore.models import ProfileEmbedding, StoreState
from vectorstore.qdrant.connection import qdrant
from vectorstore.rebuild.recall import recall, sampled_vectors
from vectorstore.verification.drift import DriftReport
from vectorstore.verification.merge_join import verify_collection

MAX_RECALL_LOSS = 0.01
"""How much lower than the live collection's recall@10 the new one may be."""
MIN_RECALL_WITHOUT_LIVE = 0.97
"""The lowest recall@10 if there is no live collection to compare with."""
COUNT_SECONDS = 30.0

log = logging.getLogger("findme.vectorstore.rebuild")


@dataclass(frozen=True, slots=True)
class AcceptanceResult:
    """The result of a passed acceptance check.

    ``users`` must have a point. ``pending`` users were being written during the check. ``live_recall`` is None if no collection was live,
    or if ``--min-recall`` decided.
    """

    collection: str
    users: int
    points: int
    pending: int
    recall: float
    live_recall: float | None


def accept(collection: str, *, min_recall: float | None = None, report: Report = ignore_progress) -> AcceptanceResult:
    """Check the collection completely. Changes nothing.

    No point may be missing, orphaned or stale, and there must be as many points as users. recall@10 may be at most 0.01 below the live
    collection's, or must be at least ``min_recall`` if that is given. Raises AliasNotMoved with the failed check, and StoreUnavailable. Opens
    the embedded store for one page at a time.
    """
    with DriftReport(collection) as found:
        users = verify_collection(found, building=False, ages_valid_on=StoreState.current().ages_refreshed_on, report=report)
        if found.differing or found.unallocated:
            raise _not_accepted(
                collection,
                _describe_differences(found),
                "Run manage.py verify_qdrant --repair and manage.py sync_qdrant --once, then run this command again.",
            )
    return _accept(collection, users, found.points, found.pending + found.quarantined, min_recall)


def accept_compared(collection: str, points: int, *, min_recall: float | None = None) -> AcceptanceResult:
    """Accept a collection that no process writes, and whose ``points`` are exactly those of all users: the caller has compared each.

    The other checks, and what is raised, are those of ``accept``.
    """
    return _accept(collection, points, points, 0, min_recall)


def _accept(collection: str, users: int, points: int, pending: int, min_recall: float | None) -> AcceptanceResult:
    with qdrant() as client:
        _check_counts(client, collection)
        measured, live = _measure_recall(client, collection, min_recall)
    compared = "" if live is None else f" (live: {live:.4f})"
    log.info("%s is accepted: %s, recall@10 %.4f%s.", collection, counted(points, "point"), measured, compared)
    return AcceptanceResult(collection, users, points, pending, measured, live)


def _not_accepted(collection: str, reason: str, next_step: str) -> AliasNotMoved:
    return AliasNotMoved(f"{collection!r} is not accepted: {reason}", next_step)


def _describe_differences(found: DriftReport) -> str:
    counts = [f"{found.kinds[kind]:,} {kind}" for kind in found.examples if found.kinds[kind]]
    counts += [f"{found.unallocated:,} with a version that was never allocated"] if found.unallocated else []
    ids = ", ".join([repr(one) for ids in found.examples.values() for one in ids][:3])
    return ", ".join(counts) + (f" (such as {ids})" if ids else "")


def _check_counts(client: QdrantClient, collection: str) -> None:
    """Compare the number of users with Qdrant's own count. Users that are being written are the margin.

    The check is repeated, since Qdrant may still count deleted points for a moment.
    """
    for _ in Deadline(COUNT_SECONDS).polls():
        margin = _count_pending_users()
        users, points = ProfileEmbedding.objects.projectable().count(), client.count(collection, exact=True).count
        margin = max(margin, _count_pending_users())
        if abs(users - points) <= margin:
            return
    raise _not_accepted(
        collection,
        f"Qdrant counts {counted(points, 'point')} for {counted(users, 'user')}, with {margin:,} still to be written",
        "Check Qdrant's log, then run this command again.",
    )


def _count_pending_users() -> int:
    """Count the users that are on the queue, leased or quarantined."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT user_id FROM vector_sync_queue UNION SELECT user_id FROM vector_sync_leases UNION SELECT user_id FROM vector_sync_quarantine
            ) AS users
            """
        )
        return int(cursor.fetchone()[0])


def _measure_recall(client: QdrantClient, collection: str, min_recall: float | None) -> tuple[float, float | None]:
    """Measure recall of the collection and of the live one with the same vectors. Raise AliasNotMoved if it is too low."""
    vectors = sampled_vectors(client, collection)
    measured = recall(client, collection, vectors)
    live = _comparable(client, collection) if min_recall is None else None
    live_recall = None if live is None else recall(client, live, vectors)
    minimum = min_recall if min_recall is not None else MIN_RECALL_WITHOUT_LIVE if live_recall is None else live_recall - MAX_RECALL_LOSS
    if measured < minimum - 1e-9:
        reason = "" if live_recall is None else f", {MAX_RECALL_LOSS} below the live collection's"
        raise _not_accepted(
            collection,
            f"its recall@10 is {measured:.4f} and the minimum is {minimum:.4f}{reason}",
            f"Rerun with --min-recall {floor(100 * measured) / 100:.2f} to accept it, or drop it with manage.py reindex_qdrant --drop-retained.",
        )
    return measured, live_recall


def _comparable(client: QdrantClient, collection: str) -> str | None:
    """Return the live collection, if there is one whose vectors have the same size."""
    live = alias_target(client)
    return live if live is not None and _size(client, live) == _size(client, collection) else None


def _size(client: QdrantClient, collection: str) -> int | None:
    vectors = client.get_collection(collection).config.params.vectors
    return vectors.size if isinstance(vectors, VectorParams) else None
