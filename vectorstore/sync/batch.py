"""One batch of the queue, from the claim to the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from findme.core.errors import StoreUnavailable
from vectorstore.consistency import preflight
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RequestRejected
from vectorstore.queue.transactions import retry_on_new_connection
from vectorstore.sync.claims import Claim, claim_due
from vectorstore.sync.leases import finish, release, start_recheck_delay
from vectorstore.sync.orphan_scan import scan_for_orphans
from vectorstore.sync.results import BatchResult
from vectorstore.sync.writer import write

BATCH_SIZE = 768
"""People of one claim and one request: some 4.5 MB of JSON, or 1.7 MB by gRPC. A batch takes a dozen statements, however large it is."""
LARGEST_BATCH = 1000
"""Each takes a lock in PostgreSQL's table of locks while they are claimed."""


def work(worker: UUID, limit: int, among: Sequence[UUID] | None = None) -> BatchResult | None:
    """Claim up to LIMIT people who are due and write their points; None where nobody is to be had.

    Raises StoreUnavailable (CollectionNotFound before ``init_qdrant``), with all users released; LeaseLost likewise. The store is taken
    before anything is claimed: who holds people never waits for it.
    """
    with qdrant() as client:
        preflight.check_stores(client)
        claim = claim_due(worker, limit, among)
        return carry_out(claim) if claim is not None else None


def carry_out(claim: Claim) -> BatchResult:
    """Write what was claimed and end the claim, in one way or the other."""
    try:
        unique = scan_for_orphans(claim) if claim.all_users else 0
        result = write(claim)
        lost = finish(claim, result.rejected)
    except BaseException as error:
        unanswered = not isinstance(error, CollectionNotFound | RequestRejected)
        retry_on_new_connection(lambda: release(claim, unanswered=unanswered))
        if isinstance(error, StoreUnavailable):
            preflight.invalidate()
        raise
    if result.sent_at is not None:
        start_recheck_delay(result.sent_at)
    return replace(result, lost=lost, unique_vectors=result.unique_vectors + unique)
