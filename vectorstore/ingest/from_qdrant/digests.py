"""Digests of 64 bits, which show whether a point or a row has changed since both were equal."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from vectorstore.projection.vectors import Reals

NOTHING = b"\0"


@dataclass(frozen=True, slots=True)
class Base:
    """The digests of a user's point and row when both were last equal."""

    point: int
    stored: int


def digest(vector: Reals, location: tuple[float, float] | None, interests: Sequence[str], video_features: Reals | None) -> int:
    """Return a hash over the bits of the numbers and the texts, as a signed number of 64 bits."""
    found = hashlib.blake2b(vector.astype("<f4").tobytes(), digest_size=8)
    found.update(NOTHING if location is None else b"\1" + struct.pack("<dd", *map(_without_sign_of_zero, location)))
    found.update(struct.pack("<q", len(interests)))
    for interest in interests:
        text = interest.encode()
        found.update(struct.pack("<q", len(text)) + text)
    found.update(NOTHING if video_features is None else b"\1" + video_features.astype("<f4").tobytes())
    return int.from_bytes(found.digest(), "little", signed=True)


def _without_sign_of_zero(number: float) -> float:
    """Return 0.0 for -0.0. JSON in PostgreSQL has no negative zero."""
    return number + 0.0
