"""A page of a collection."""

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
    """People's points, and ``numbers``, the ids of points that are nobody's. ``vectors`` is (N, 512), NaN where a point has no such vector."""

    ids: list[UUID]
    payloads: list[dict[str, Any]]
    vectors: NDArray[np.float32]
    numbers: list[int]

    def between(self, low: UUID, high: UUID) -> Points:
        """Those after LOW and up to HIGH; after the lowest UUID of all, that one too: nobody has it, but a point may."""
        first, last = bisect_right(self.ids, low) if low.int else 0, bisect_right(self.ids, high)
        return Points(self.ids[first:last], self.payloads[first:last], self.vectors[first:last], [])


NONE = Points([], [], np.empty((0, VECTOR_SIZE), np.float32), [])


def vectors_of(found: Sequence[object]) -> NDArray[np.float32]:
    """As they came from Qdrant, (N, 512)."""
    whole = [one if isinstance(one, list) and len(one) == VECTOR_SIZE else [np.nan] * VECTOR_SIZE for one in found]
    return np.array(whole, np.float32).reshape(len(whole), VECTOR_SIZE)
