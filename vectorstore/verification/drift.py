"""Differences of one collection in constant memory: counts, examples, and files with the ids of all users that differ."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import IO, Any, Self
from uuid import UUID

from vectorstore.consistency.versions import last_allocated
from vectorstore.verification.compare import Difference, Kind

EXAMPLES = 10
"""Ids reported for each kind."""
CHUNK_SIZE = 1000


class Ids:
    """Ids in order of arrival, 16 bytes each, in an anonymous temporary file that is deleted when it is closed."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by ``DriftReport``
        self.count = 0

    def add(self, number: int) -> None:
        self.file.write(number.to_bytes(16))
        self.count += 1

    def chunks(self) -> Iterator[list[int]]:
        self.file.seek(0)
        while chunk := self.file.read(16 * CHUNK_SIZE):
            yield [int.from_bytes(chunk[start : start + 16]) for start in range(0, len(chunk), 16)]


class DriftReport(AbstractContextManager["DriftReport"]):
    """The differences of one collection.

    ``users`` differ and can be enqueued. ``numbers`` are points with a numeric id, which belong to no user. ``unbeatable`` are those of
    ``users`` whose point must be deleted first. ``pending`` users differ and a worker or the daily job will sync them. ``quarantined``
    users differ and are quarantined. ``unallocated`` points have a version that was never allocated. ``unique`` are those of ``users``
    whose point holds the only copy of a vector, and ``unique_numbers`` counts those of ``numbers``.

    With ``orphans_only`` no other difference counts: the collection is a copy, which receives deletions and no other write.
    """

    def __init__(self, name: str, *, orphans_only: bool = False) -> None:
        self.name, self.orphans_only = name, orphans_only
        self.points = self.pending = self.quarantined = self.unallocated = self.highest = self.unique_numbers = 0
        self.allocated = last_allocated()
        self.kinds: Counter[Kind] = Counter()
        self.examples: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        self.users, self.numbers, self.unbeatable, self.unique = Ids(), Ids(), Ids(), Ids()

    @property
    def differing(self) -> int:
        return self.users.count + self.numbers.count

    @property
    def unique_vectors(self) -> int:
        return self.unique.count + self.unique_numbers

    @property
    def foreign_vectors(self) -> int:
        return self.kinds[Kind.FOREIGN_VECTOR]

    def add(self, user: UUID, difference: Difference) -> None:
        self.users.add(user.int)
        if difference.unbeatable:
            self.unbeatable.add(user.int)
        for kind in difference.kinds:
            self._note(kind, str(user))

    def add_number(self, number: int) -> None:
        self.numbers.add(number)
        self._note(Kind.ORPHANED, str(number))

    def see_versions(self, versions: Sequence[int]) -> None:
        """Take versions of points into account. Call it after the points were read: their writers had allocated the versions before."""
        highest = max(versions, default=0)
        if highest > self.allocated:
            self.allocated = last_allocated()
            self.unallocated += sum(version > self.allocated for version in versions)
        self.highest = max(self.highest, highest)

    def _note(self, kind: Kind, example: str) -> None:
        self.kinds[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(example)

    def counts(self) -> dict[str, Any]:
        """Return the counts that PostgreSQL stores, without any id."""
        return {
            "points": self.points,
            **{kind: self.kinds[kind] for kind in Kind},
            "pending": self.pending,
            "quarantined": self.quarantined,
            "unallocated": self.unallocated,
            "unique_vectors": self.unique_vectors,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for ids in (self.users, self.numbers, self.unbeatable, self.unique):
            ids.file.close()
