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


def vectors_of(received: Sequence[object]) -> NDArray[np.float32]:
    """Return the vectors that Qdrant sent as an array of (N, 512), with NaN for other values."""
    vectors = [vector if isinstance(vector, list) and len(vector) == VECTOR_SIZE else [np.nan] * VECTOR_SIZE for vector in received]
    return np.array(vectors, np.float32).reshape(len(vectors), VECTOR_SIZE)
