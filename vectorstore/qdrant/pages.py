"""A page of points as arrays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from vectorstore.models import VECTOR_SIZE


@dataclass(frozen=True, slots=True)
class Points:
    """The points of users, and ``numbers``: the ids of points that cannot belong to a user.

    ``vectors`` is (N, 512), with NaN for a point without such a vector.
    """

    ids: list[UUID]
    payloads: list[dict[str, Any]]
    vectors: NDArray[np.float32]
    numbers: list[int]

    def between(self, low: UUID, high: UUID) -> Points:
        """Return the points with ids above ``low`` and up to ``high``.

        For the nil UUID as ``low`` its own point is included: no user has that id, but a point may have it.
        """
        first, last = bisect_right(self.ids, low) if low.int else 0, bisect_right(self.ids, high)
        return Points(self.ids[first:last], self.payloads[first:last], self.vectors[first:last], [])


NONE = Points([], [], np.empty((0, VECTOR_SIZE), np.float32), [])


@dataclass(frozen=True, slots=True)
class Selection:
    """What is read of each point: one vector, and some fields of the payload (None: all). The embedded store always returns all.

    ``vector`` is the name of the vector. The empty name stands for the only vector of a collection without names.
    """

    vector: str = ""
    fields: tuple[str, ...] | None = None


WHOLE = Selection()


@dataclass(frozen=True, slots=True)
class Page:
    """Points as they were received: in the order of their ids, numeric ids first.

    ``vectors`` is (N, 512), with NaN for a point without such a vector. ``lengths`` says how many numbers Qdrant sent, 0 for no vector.
    """

    ids: list[UUID | int]
    payloads: list[dict[str, Any]]
    vectors: NDArray[np.float32]
    lengths: list[int]

    def points(self) -> Points:
        """Return the points by the kind of their id."""
        numbers = [point_id for point_id in self.ids if isinstance(point_id, int)]
        users = [point_id for point_id in self.ids if isinstance(point_id, UUID)]
        return Points(users, self.payloads[len(numbers) :], self.vectors[len(numbers) :], numbers)

    def after(self, point_id: UUID | int | None) -> Page:
        """Return the page without the point ``point_id``, if the page begins with it."""
        if point_id is None or self.ids[:1] != [point_id]:
            return self
        return Page(self.ids[1:], self.payloads[1:], self.vectors[1:], self.lengths[1:])


def vector_named(name: str, received: object) -> object:
    """Return the vector from what Qdrant sent for a point: vectors by their names, or one without a name.

    Next to sparse vectors, which have names, a vector without a name has the empty one.
    """
    return received.get(name) if isinstance(received, dict) else received


NO_NUMBERS = [np.nan] * VECTOR_SIZE


def page_of(ids: list[UUID | int], payloads: list[dict[str, Any]], received: Sequence[object]) -> Page:
    """Return the page with the vectors that Qdrant sent as lists."""
    lengths = [len(vector) if isinstance(vector, list) else 0 for vector in received]
    vectors = [vector if length == VECTOR_SIZE else NO_NUMBERS for vector, length in zip(received, lengths, strict=True)]
    return Page(ids, payloads, np.array(vectors, np.float32).reshape(len(vectors), VECTOR_SIZE), lengths)
