"""Recheck the differences, so that a concurrent write is never reported as a difference.

PostgreSQL is asked which users are quiescent (``vectorstore.consistency.quiescence``), then Qdrant is read, then PostgreSQL is asked again.
A difference is confirmed if the user was quiescent both times, on the same rows, and the point was not written in between: its version was
not allocated since the first query. All other users are pending, or are checked again. A point with an unbeatable version is always a
difference, whatever the queue holds for its user: no worker writes such a version.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from uuid import UUID

from vectorstore.consistency.quiescence import quiescent_users
from vectorstore.consistency.versions import last_allocated
from vectorstore.projection.points import expected_among
from vectorstore.qdrant.scroll import points_among
from vectorstore.verification.compare import Difference, compare

CHUNK_SIZE = 500
"""Users of one query. Each takes an entry in PostgreSQL's lock table for a moment."""
ATTEMPTS = 5
WAIT_SECONDS = 0.3
"""Pause between two attempts. Most batches are shorter."""


@dataclass(slots=True)
class Decided:
    """The confirmed differences. ``pending`` users are on the queue, are leased, or only need an age refresh."""

    differences: dict[UUID, Difference] = field(default_factory=dict)
    pending: int = 0


def recheck_users(collection: str, users: Iterable[UUID], ages_valid_on: date | None) -> Decided:
    """Decide about ``users`` whose points differed before."""
    decided = Decided()
    for chunk in _chunks(users):
        undecided = chunk
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(WAIT_SECONDS)
            undecided = _recheck(collection, undecided, ages_valid_on, decided)
            if not undecided:
                break
        decided.pending += len(undecided)
    return decided


def _recheck(collection: str, users: Sequence[UUID], ages_valid_on: date | None, decided: Decided) -> list[UUID]:
    """Make one attempt. Return the users that are still undecided."""
    allocated_before = last_allocated()
    before = quiescent_users(users)
    compared = compare(expected_among(users), points_among(collection, users), ages_valid_on)
    differing = compared.differences
    after = quiescent_users(list(differing))
    allocated_after = last_allocated()
    again: list[UUID] = []
    for user, difference in differing.items():
        if difference.unbeatable:
            decided.differences[user] = difference
        elif user not in before or user not in after:
            decided.pending += 1
        elif before[user] != after[user] or allocated_before < (difference.version or 0) <= allocated_after:
            again.append(user)
        else:
            decided.differences[user] = difference
    decided.pending += compared.waiting
    return again


def _chunks(users: Iterable[UUID]) -> Iterator[list[UUID]]:
    remaining = iter(users)
    while chunk := list(islice(remaining, CHUNK_SIZE)):
        yield chunk
