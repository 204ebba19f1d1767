"""Make the collection as it is defined, and prove it: what ``init_qdrant`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from qdrant_client import QdrantClient
from qdrant_client.models import CollectionStatus, OptimizersConfigDiff

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from findme.core.waiting import Deadline
from vectorstore.catalog.cluster import is_copying, require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.consistency.checkpoint import compare_live_checkpoint
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RestoreDetected
from vectorstore.schema.apply import apply
from vectorstore.schema.plan import Plan, plan, refuse

GREEN_SECONDS = 60.0

OnPlan = Callable[[Plan], object]


@dataclass(frozen=True, slots=True)
class Initialized:
    """What was planned, which is now done and read back, and how Qdrant was at the end: ``yellow`` while it still builds graphs. Everybody, so many
    people, is ``queued`` for a collection that was not written before."""

    planned: Plan
    status: str
    queued: int

    @property
    def green(self) -> bool:
        return self.status == "green"


def compare() -> Plan:
    """How the live collection compares with the definition, and whether a store was restored. Changes nothing."""
    with qdrant() as client:
        return _with_restore(client, plan(client))


def _with_restore(client: QdrantClient, planned: Plan) -> Plan:
    """Add to the plan whether a store was restored. A collection that is missing, or another database's, says nothing about that."""
    if planned.live.found is None or planned.live.ownership_problem is not None:
        return planned
    try:
        compare_live_checkpoint(client)
    except RestoreDetected as error:
        return replace(planned, restored=str(error))
    except CollectionNotFound:  # the plan names it
        return planned
    return planned


def initialize(*, green_seconds: float = GREEN_SECONDS, on_plan: OnPlan = ignore_progress, report: Report = ignore_progress) -> Initialized:
    """Make what is missing and change what can be changed, after ``on_plan`` has got the plan; one at a time.

    Raises UserFacingError, with nothing touched, for what takes a new collection or is another database's, and where one is to be made on a
    cluster without one of its nodes; and where Qdrant says that all is done and it is not.
    """
    with collection_lock(), qdrant() as client:
        planned = _with_restore(client, plan(client))
        refuse(planned)
        if planned.differs("collection "):
            require_all_nodes(client)
        on_plan(planned)
        status = carry_out(client, planned, green_seconds, report)
        return Initialized(planned, status, ProfileEmbedding.objects.projectable().count() if planned.queues_all_users else 0)


def carry_out(client: QdrantClient, planned: Plan, green_seconds: float, report: Report = ignore_progress) -> str:
    """Apply, wait, and read back; the collection's status. Under ``collection_lock``."""
    if not planned.differences:
        return wait_until_green(client, planned.collection, green_seconds, report)
    apply(client, planned)
    status = wait_until_green(client, planned.collection, green_seconds, report)
    left = plan(client).differences
    if left:
        raise UserFacingError(f"Qdrant says that it is done, and {left[0]}: look at its log, and run manage.py init_qdrant again.")
    return status


def wait_until_green(client: QdrantClient, collection: str, seconds: float, report: Report = ignore_progress) -> str:
    """The collection's status when it is green and no shard is being copied, or when SECONDS are over. Raises UserFacingError where it is
    red."""
    woken = False
    for _ in Deadline(seconds).polls():
        found = client.get_collection(collection)
        if found.status is CollectionStatus.GREY and not woken:
            # After a restart Qdrant leaves its segments as they are until somebody changes something.
            client.update_collection(collection, optimizers_config=OptimizersConfigDiff())
            woken = True
        if found.status is CollectionStatus.RED:
            reason = getattr(found.optimizer_status, "error", found.optimizer_status)
            raise UserFacingError(f"Qdrant reports the collection {collection!r} as red ({reason}): look at its log.")
        copying = is_copying(client, collection)
        if found.status is CollectionStatus.GREEN and not copying:
            break
        report(found.indexed_vectors_count or 0, found.points_count)
    return "copying shards" if copying else str(found.status)
