"""Backfill: write the existing users to a collection that is being built. They are leased in the order of their ids."""

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

MAX_HELD = 10_000
"""How many users that other workers hold are collected before the backfill waits for them."""


@dataclass(frozen=True, slots=True)
class BackfillResult:
    """Points that were ``written`` now, and points ``found``: from an interrupted run, or written by workers meanwhile."""

    written: int
    found: int


def backfill(collection: str, *, timeout: float, batch_size: int = BATCH_SIZE, report: Report = ignore_progress) -> BackfillResult:
    """Write a point of every user to the collection. Its row as building must be committed: workers then write all later changes.

    Users that other workers hold are tried again until they are released. Ends after ``timeout`` seconds in which no user was finished. An
    unavailable store is waited for as long. Raises UserFacingError and StoreUnavailable, at once if an operator must act first. If the
    collection fails, it is marked as failed.
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
        """Write all users. Yield the number of users seen, and their total."""
        seen, total = 0, ProfileEmbedding.objects.projectable().count()
        held: list[UUID] = []
        for page in _pages(batch_size):
            seen += len(page)
            held += self.batch(page)
            while len(held) > MAX_HELD:
                held = self.retry(held, batch_size)
            yield min(seen, total), total
        while held:
            held = self.retry(held, batch_size)

    def retry(self, held: Sequence[UUID], batch_size: int) -> list[UUID]:
        self.timeout.pause()
        still_held = [user for start in range(0, len(held), batch_size) for user in self.batch(held[start : start + batch_size])]
        if len(still_held) == len(held):
            self.wait(
                UserFacingError(
                    f"Other workers have held {counted(len(still_held), 'user')} of {self.collection!r} for {self.timeout.seconds:g} s."
                    " Check which workers run, then run this command again: it resumes."
                )
            )
        return still_held

    def batch(self, users: Sequence[UUID]) -> Sequence[UUID]:
        """Write those of the users that have no point yet. Return the users that other workers hold."""
        try:
            with qdrant() as client:
                existing = client.retrieve(self.collection, [str(user) for user in users], with_payload=False, with_vectors=False)
                missing = sorted(set(users) - {UUID(str(record.id)) for record in existing})
                held = self.write(missing) if missing else ()
        except LeaseLost:
            return users
        except (CollectionNotFound, ServerError):
            raise
        except StoreUnavailable as error:
            if error.needs_operator:
                raise
            self.wait(error)
            return users
        if len(held) < len(users):
            self.timeout.restart()
        self.found += len(existing)
        return held

    def write(self, missing: list[UUID]) -> list[UUID]:
        self.require_building()
        claim = claim_users(self.worker, missing, collections=(self.collection,))
        if claim is None:
            return missing
        done = carry_out(claim)
        self.written += done.written
        self.require_no_rejected_users(done)
        return sorted(set(missing) - claim.users)

    def wait(self, error: UserFacingError) -> None:
        """Wait a moment after an attempt that finished no user. Raise ``error`` when the timeout is over."""
        if self.timeout.is_over():
            raise error
        self.timeout.pause()

    def require_building(self) -> None:
        """Raise AliasNotMoved if the collection is no longer building. A worker may have had an error and marked it as failed."""
        row = VectorCollection.objects.filter(name=self.collection).first()
        if row is None or row.state != registry.State.BUILDING:
            reason = "it was dropped" if row is None else row.failure_reason or f"it is {row.state}"
            raise registry.AliasNotMoved(
                f"{self.collection!r} was marked as failed: {reason}",
                "Correct the cause, then run this command again: it builds a new collection.",
            )

    def require_no_rejected_users(self, done: BatchResult) -> None:
        """Raise RequestRejected if the collection rejects a user whose point the live one accepted: the data are not the cause."""
        rejected = [user for user in done.rejected if user.reason != NO_POINT]
        if rejected:
            QuarantinedUser.objects.filter(collection=self.collection).exclude(reason=NO_POINT).delete()
            raise RequestRejected(f"{self.collection!r} rejects the point of {str(rejected[0].user_id)!r}: {rejected[0].reason}")


def _pages(batch_size: int) -> Iterator[list[UUID]]:
    users = ProfileEmbedding.objects.projectable().order_by("pk").values_list("pk", flat=True)
    page = list(users[:batch_size])
    while page:
        yield page
        page = list(users.filter(pk__gt=page[-1])[:batch_size])
