"""Backfill: write the existing users to a collection that is being built. They are leased in the order of their ids, as workers lease them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from findme.core.plurals import counted
from findme.core.waiting import StallTimeout
from vectorstore.catalog import registry
from vectorstore.models import ProfileEmbedding, QuarantinedUser, VectorCollection
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RequestRejected, ServerError
from vectorstore.sync.batch import BATCH_SIZE, carry_out
from vectorstore.sync.claims import claim_users
from vectorstore.sync.leases import LeaseLost
from vectorstore.sync.results import BatchResult
from vectorstore.sync.writer import NO_POINT

MOST_HELD = 10_000
"""People whom others hold: so many are remembered, and then waited for."""


@dataclass(frozen=True, slots=True)
class BackfillResult:
    """Points ``written`` now, and ``found`` there: from a run that was broken off, or by workers, who were quicker."""

    written: int
    found: int


def backfill(collection: str, *, timeout: float, batch_size: int = BATCH_SIZE, report: Report = ignore_progress) -> BackfillResult:
    """Give everyone a point in COLLECTION, whose row as building has been committed: whatever changes from then on the workers write there too.

    Whom others hold is tried again until they are released, at most TIMEOUT seconds without anybody done; a store that is unavailable is
    waited for as long. Raises UserFacingError, and StoreUnavailable, at once if a person must act first; a collection that fails is marked
    as failed.
    """
    run = _Backfill(collection, timeout)
    try:
        for done, total in run.all_users(batch_size):
            report(done, total)
    except (CollectionNotFound, RequestRejected, ServerError) as error:
        registry.mark_failed(collection, one_line(error))
        raise
    return BackfillResult(run.written, run.found)


class _Backfill:
    def __init__(self, collection: str, timeout: float) -> None:
        self.collection, self.timeout = collection, StallTimeout(timeout)
        self.worker = uuid4()
        self.written = self.found = 0

    def all_users(self, batch_size: int) -> Iterator[tuple[int, int]]:
        """How many have been seen, and of how many."""
        seen, total = 0, ProfileEmbedding.objects.projectable().count()
        held: list[UUID] = []
        for page in _pages(batch_size):
            seen += len(page)
            held += self.batch(page)
            while len(held) > MOST_HELD:
                held = self.again(held, batch_size)
            yield min(seen, total), total
        while held:
            held = self.again(held, batch_size)

    def again(self, held: Sequence[UUID], batch_size: int) -> list[UUID]:
        self.timeout.pause()
        left = [user for start in range(0, len(held), batch_size) for user in self.batch(held[start : start + batch_size])]
        if len(left) == len(held):
            self.wait(
                UserFacingError(
                    f"Of {self.collection!r}, {counted(len(left), 'person is', 'people are')} held by other workers, and not released for {self.timeout.seconds:g} s: see what"
                    " runs, and run it again: it goes on."
                )
            )
        return left

    def batch(self, users: Sequence[UUID]) -> Sequence[UUID]:
        """Write those who have no point yet; whom somebody else holds."""
        try:
            with qdrant() as client:
                there = client.retrieve(self.collection, [str(user) for user in users], with_payload=False, with_vectors=False)
                missing = sorted(set(users) - {UUID(str(record.id)) for record in there})
                left = self.write(missing) if missing else ()
        except LeaseLost:
            return users
        except (CollectionNotFound, ServerError):
            raise
        except StoreUnavailable as error:
            if error.needs_operator:
                raise
            self.wait(error)
            return users
        if len(left) < len(users):
            self.timeout.restart()
        self.found += len(there)
        return left

    def write(self, missing: list[UUID]) -> list[UUID]:
        self.refuse_failed()
        claim = claim_users(self.worker, missing, collections=(self.collection,))
        if claim is None:
            return missing
        done = carry_out(claim)
        self.written += done.written
        self.require_no_rejected_users(done)
        return sorted(set(missing) - claim.users)

    def wait(self, error: UserFacingError) -> None:
        """Nobody is done: what is wrong may go by itself, for a while."""
        if self.timeout.is_over():
            raise error
        self.timeout.pause()

    def refuse_failed(self) -> None:
        """A worker may have met with an error, and given the collection up."""
        row = VectorCollection.objects.filter(name=self.collection).first()
        if row is None or row.state != registry.State.BUILDING:
            why = "somebody has dropped it" if row is None else row.failure_reason or f"it is {row.state}"
            raise UserFacingError(
                f"{self.collection!r} was marked as failed: {why}. The alias was not moved. Mend that, and run it again: it starts anew."
            )

    def require_no_rejected_users(self, done: BatchResult) -> None:
        """Whoever is refused here has a point in the live collection: it is not the person's fault."""
        theirs = [user for user in done.rejected if user.reason != NO_POINT]
        if theirs:
            QuarantinedUser.objects.filter(collection=self.collection).exclude(reason=NO_POINT).delete()
            raise RequestRejected(f"{self.collection!r} refuses the point of {str(theirs[0].user_id)!r}: {theirs[0].reason}")


def _pages(batch_size: int) -> Iterator[list[UUID]]:
    users = ProfileEmbedding.objects.projectable().order_by("pk").values_list("pk", flat=True)
    page = list(users[:batch_size])
    while page:
        yield page
        page = list(users.filter(pk__gt=page[-1])[:batch_size])
