"""Create or change the collection by the definition, and verify the result: ``init_qdrant``."""

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
    """The plan, which was applied and verified, and Qdrant's status at the end: ``yellow`` while it still builds graphs.

    ``queued`` is the number of enqueued users. It is 0 unless the collection was not written before.
    """

    planned: Plan
    status: str
    queued: int

    @property
    def green(self) -> bool:
        return self.status == "green"


def compare() -> Plan:
    """Compare the live collection with the definition, and check whether a store was restored. Changes nothing."""
    with qdrant() as client:
        return _with_restore(client, plan(client))


def _with_restore(client: QdrantClient, planned: Plan) -> Plan:
    """Add to the plan whether a store was restored. A missing or foreign collection cannot show this."""
    if planned.live.found is None or planned.live.ownership_problem is not None:
        return planned
    try:
        compare_live_checkpoint(client)
    except RestoreDetected as error:
        return replace(planned, restored=str(error))
    except CollectionNotFound:
        # The plan names the missing collection.
        return planned
    return planned


def initialize(*, green_seconds: float = GREEN_SECONDS, on_plan: OnPlan = ignore_progress, report: Report = ignore_progress) -> Initialized:
    """Create what is missing and change what can be changed, after calling ``on_plan``. One process at a time.

    With nothing changed, raises UserFacingError for a difference that needs a new collection, for another database's collection, and if a
    collection must be created and a node of the cluster does not answer. Also raises it if Qdrant accepted a change without making it.
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
    """Apply the plan, wait, and read back. Return the collection's status. Only under ``collection_lock``."""
    if not planned.differences:
        return wait_until_green(client, planned.collection, green_seconds, report)
    apply(client, planned)
    status = wait_until_green(client, planned.collection, green_seconds, report)
    remaining = plan(client).differences
    if remaining:
        raise UserFacingError(f"Qdrant accepted all changes, but {remaining[0]}. Check Qdrant's log, then run manage.py init_qdrant again.")
    return status


def wait_until_green(client: QdrantClient, collection: str, seconds: float, report: Report = ignore_progress) -> str:
    """Wait until the collection is green and no shard is being copied, at most ``seconds``. Return its status.

    Raises UserFacingError if the status is red.
    """
    woken = False
    for _ in Deadline(seconds).polls():
        found = client.get_collection(collection)
        if found.status is CollectionStatus.GREY and not woken:
            # After a restart Qdrant does not optimize segments until it receives an update.
            client.update_collection(collection, optimizers_config=OptimizersConfigDiff())
            woken = True
        if found.status is CollectionStatus.RED:
            reason = getattr(found.optimizer_status, "error", found.optimizer_status)
            raise UserFacingError(f"Qdrant reports the collection {collection!r} as red ({reason}). Check Qdrant's log.")
        copying = is_copying(client, collection)
        if found.status is CollectionStatus.GREEN and not copying:
            break
        report(found.indexed_vectors_count or 0, found.points_count)
    return "copying shards" if copying else str(found.status)
