"""Process one batch of the queue, from the claim to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from vectorstore.consistency import preflight
from vectorstore.qdrant.connection import note_outage, qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RequestRejected
from vectorstore.queue.transactions import retry_on_new_connection
from vectorstore.sync.claims import Claim, claim_due
from vectorstore.sync.leases import finish, release
from vectorstore.sync.orphan_scan import scan_for_orphans
from vectorstore.sync.rechecks import start_recheck_delay
from vectorstore.sync.results import BatchResult
from vectorstore.sync.writer import write

BATCH_SIZE = 768
"""Users of one claim and one request: about 4.5 MB of JSON, or 1.7 MB by gRPC.

A batch takes a dozen statements, however large it is.
"""
LARGEST_BATCH = 1000
"""Each user takes an entry in PostgreSQL's lock table during the claim."""


def work(worker: UUID, limit: int, among: Sequence[UUID] | None = None) -> BatchResult | None:
    """Claim up to ``limit`` due users and write their points. Return None if no user can be claimed.

    Raises StoreUnavailable (CollectionNotFound before ``init_qdrant``) and LeaseLost, after releasing all users. The store is opened
    before the claim, so a worker that holds leases never waits for it.
    """
    with qdrant() as client:
        preflight.check_stores(client)
        claim = claim_due(worker, limit, among)
        return carry_out(claim) if claim is not None else None


def carry_out(claim: Claim) -> BatchResult:
    """Write a claim and end it: finish it, or release it after an error."""
    try:
        unique = scan_for_orphans(claim) if claim.all_users else 0
        result = write(claim)
        lost = finish(claim, result.rejected)
    except BaseException as error:
        unanswered = not isinstance(error, CollectionNotFound | RequestRejected)
        retry_on_new_connection(lambda: release(claim, unanswered=unanswered))
        if isinstance(error, CollectionNotFound):
            note_outage()
        raise
    if result.sent_at is not None:
        start_recheck_delay(result.sent_at)
    return replace(result, lost=lost, unique_vectors=result.unique_vectors + unique)
