"""What differed is looked at again, in such a way that nobody who writes meanwhile can be taken for a difference.

PostgreSQL is asked which users are quiescent (``vectorstore.consistency.quiescence``), then Qdrant, then PostgreSQL again. A difference is one of somebody who was quiescent both
times, on the same rows, and whose point was not written in between: it has no version that was allocated since the first question. All others wait for
somebody, or are asked about again. But a point that the condition of every write takes for newer is one, whoever is on the queue for it: no writing
of a person makes one.
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

AT_ONCE = 500
"""People of one question; each takes a lock in PostgreSQL's table of locks for a moment."""
ATTEMPTS = 5
WAIT_SECONDS = 0.3
"""Between two attempts: longer than most batches take."""


@dataclass(slots=True)
class Decided:
    """``pending`` are people whom somebody is to look at, or is looking at, and whose age is to be refreshed."""

    differences: dict[UUID, Difference] = field(default_factory=dict)
    pending: int = 0


def recheck_users(collection: str, users: Iterable[UUID], ages_valid_on: date | None) -> Decided:
    """Decide about PEOPLE, whose points differed before."""
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
    """One attempt; whom nothing can be said about yet."""
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
    while chunk := list(islice(remaining, AT_ONCE)):
        yield chunk
