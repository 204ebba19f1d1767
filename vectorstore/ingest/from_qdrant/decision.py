"""Decide between a point and the row of its user: a three-way comparison with what both were when they were last equal."""

from __future__ import annotations

from enum import Enum, auto

import numpy as np

from vectorstore.ingest.from_qdrant.digests import Base
from vectorstore.ingest.from_qdrant.points import Candidate
from vectorstore.ingest.from_qdrant.stored import Embedding
from vectorstore.projection.rows import unit_rows
from vectorstore.projection.vectors import Reals
from vectorstore.verification.compare import TOLERANCE


class Decision(Enum):
    """What an import does with a point.

    - NEW: the user has no row and no point of this user was imported before.
    - SAME: the point and the row are equal, apart from rounding.
    - CHANGED: the row is as it was when both were equal, and the point is not.
    - KEPT: the point is as it was when both were equal, and the row is not.
    - CONFLICT: both have changed, or they differ and were never equal.
    - DELETED: both were equal, and the row was deleted since. This is a conflict too.
    """

    NEW = auto()
    SAME = auto()
    CHANGED = auto()
    KEPT = auto()
    CONFLICT = auto()
    DELETED = auto()

    @property
    def is_conflict(self) -> bool:
        return self in (Decision.CONFLICT, Decision.DELETED)


def decide(candidate: Candidate, row: Embedding | None, base: Base | None, *, is_cosine: bool) -> Decision:
    """Compare the point with the row and with ``base``. ``is_cosine``: vectors are compared with length 1, because others mean the same there."""
    if row is None:
        return Decision.NEW if base is None else Decision.DELETED
    point, stored = candidate.digest, row.digest
    if point == stored or _are_equal(candidate, row, is_cosine=is_cosine):
        return Decision.SAME
    if base is not None and stored == base.stored:
        return Decision.CHANGED
    return Decision.KEPT if base is not None and point == base.point else Decision.CONFLICT


def _are_equal(candidate: Candidate, row: Embedding, *, is_cosine: bool) -> bool:
    content = candidate.content
    return (
        content.location == row.location
        and content.interests == row.compared_interests
        and _are_same_reals(candidate.video_features, row.video_features)
        and (_has_direction(candidate, row) if is_cosine else np.array_equal(candidate.vector, row.vector))
    )


def _are_same_reals(one: Reals | None, other: Reals | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)


def _has_direction(candidate: Candidate, row: Embedding) -> bool:
    """Return whether both vectors are equal with length 1, apart from rounding. The embedded store keeps the length of a point's vector."""
    if len(row.vector) != len(candidate.vector):
        return False
    units, _ = unit_rows(np.stack([row.vector, candidate.vector]).astype(np.float64))
    return bool((np.abs(np.subtract(*units)) <= TOLERANCE).all())
