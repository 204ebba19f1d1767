"""Validate the rows of an input. A row is good, or rejected with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, TypeAlias
from uuid import UUID

from vectorstore.models.limits import MOST_INTERESTS, MOST_VIDEO_FEATURES
from vectorstore.projection import vectors
from vectorstore.projection.validation import interest, latitude, longitude, truncated_repr
from vectorstore.projection.vectors import Reals

FIELDS = ("user_id", "vector", "location", "interests", "video_features")
"""The fields of a row. Only ``user_id`` is required."""

UUID_PATTERN = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


class Unset(Enum):
    """A field that is missing in the input. Its stored value does not change."""

    UNSET = "unset"


UNSET = Unset.UNSET


class Kind(StrEnum):
    """Why a row is rejected. The values label the counts in the output."""

    NOT_JSON = "not JSON"
    NOT_AN_OBJECT = "not an object"
    TOO_LONG = "line too long"
    REPEATED_FIELD = "repeated field"
    UNKNOWN_FIELD = "unknown field"
    BAD_USER_ID = "bad user_id"
    BAD_VECTOR = "bad vector"
    BAD_LOCATION = "bad location"
    BAD_INTERESTS = "bad interests"
    BAD_VIDEO_FEATURES = "bad video_features"
    UNKNOWN_USER = "unknown user"
    DELETED_USER = "deleted user"
    ERASED_USER = "erased user"
    RESTRICTED_USER = "restricted user"
    OBJECTING_USER = "objecting user"
    SECOND_ROW = "second row of a user"
    NO_VECTOR = "no vector"
    CONFLICT = "conflict"
    LEFT_OUT = "invalid field"


class BadRow(Exception):
    """A row cannot be loaded. The message is the reason."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


@dataclass(frozen=True, slots=True)
class Content:
    """The validated content of a row. ``location`` is (latitude, longitude) in degrees. None clears a field."""

    user_id: UUID
    vector: Reals | Unset = UNSET
    location: tuple[float, float] | Unset | None = UNSET
    interests: tuple[str, ...] | Unset = UNSET
    video_features: Reals | Unset | None = UNSET

    @property
    def size(self) -> int:
        """Return the approximate bytes in PostgreSQL's COPY format: 8 for a number, up to 4 for a character."""
        numbers = 0 if self.vector is UNSET else len(self.vector)
        if self.video_features is not UNSET and self.video_features is not None:
            numbers += len(self.video_features)
        characters = 0 if self.interests is UNSET else sum(map(len, self.interests)) + len(self.interests)
        return 8 * numbers + 4 * characters


@dataclass(frozen=True, slots=True)
class Row:
    """A good row.

    ``line`` counts from 1: lines of JSON Lines, rows of the other formats. ``original`` returns the row as read, for the rejects file. ``size`` is
    the approximate size in bytes.
    """

    file: str
    line: int
    content: Content
    original: Callable[[], object]
    size: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """A bad row, with the reason."""

    file: str
    line: int
    kind: Kind
    reason: str
    original: Callable[[], object]
    size: int = 0


Entry: TypeAlias = Row | Rejection


def entry(
    file: str, line: int, read: Callable[[], Mapping[str, object]], original: Callable[[], object], size: int, vector: Reals | Unset = UNSET
) -> Entry:
    """Return the row with the fields that ``read`` returns, or a rejection if ``read`` or the validation raises BadRow.

    A given ``vector`` is already validated. ``read`` then returns the other fields.
    """
    try:
        return Row(file, line, content(read(), vector), original, size)
    except BadRow as bad:
        return Rejection(file, line, bad.kind, bad.reason, original, size)


def content(fields: Mapping[str, object], vector: Reals | Unset = UNSET) -> Content:
    """Validate ``fields`` and return the content. A given ``vector`` is already validated. Raises BadRow."""
    if unknown := [name for name in fields if name not in FIELDS]:
        raise BadRow(Kind.UNKNOWN_FIELD, f"unknown field {truncated_repr(unknown[0])}: a row has {', '.join(FIELDS)}")
    if "user_id" not in fields:
        raise BadRow(Kind.BAD_USER_ID, "user_id is missing")
    return Content(**{"vector": vector} | {name: CHECKS[name](value) for name, value in fields.items()})


def uuid_of(text: str) -> UUID | None:
    """Parse a UUID with all of its hyphens or none. Return None if ``text`` is not a UUID."""
    return UUID(bytes=bytes.fromhex(text.replace("-", ""))) if UUID_PATTERN.fullmatch(text) else None


def _user_id(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    found = uuid_of(value) if isinstance(value, str) else None
    if found is None:
        raise BadRow(Kind.BAD_USER_ID, f"user_id is not a UUID: {truncated_repr(value)}")
    return found


def _vector(value: object) -> Reals:
    if value is None:
        raise BadRow(Kind.BAD_VECTOR, "vector is null: omit it to keep the stored one")
    try:
        return vectors.vector(value)
    except ValueError as error:
        raise BadRow(Kind.BAD_VECTOR, f"vector {error}") from None


def _location(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"lat", "lon"}:
        raise BadRow(Kind.BAD_LOCATION, f"location is not an object with lat and lon: {truncated_repr(value)}")
    try:
        return latitude(value["lat"]), longitude(value["lon"])
    except ValueError as error:
        raise BadRow(Kind.BAD_LOCATION, str(error)) from None


def _interests(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadRow(Kind.BAD_INTERESTS, f"interests is not a list: {truncated_repr(value)}")
    try:
        interests = tuple(dict.fromkeys(map(interest, value)))
    except ValueError as error:
        raise BadRow(Kind.BAD_INTERESTS, str(error)) from None
    if len(interests) > MOST_INTERESTS:
        raise BadRow(Kind.BAD_INTERESTS, f"interests has {len(interests):,} texts, more than {MOST_INTERESTS}")
    return interests


def _video_features(value: object) -> Reals | None:
    if value is None:
        return None
    try:
        features = vectors.reals(value)
    except ValueError as error:
        raise BadRow(Kind.BAD_VIDEO_FEATURES, f"video_features {error}") from None
    if len(features) > MOST_VIDEO_FEATURES:
        raise BadRow(Kind.BAD_VIDEO_FEATURES, f"video_features has {len(features):,} numbers, more than {MOST_VIDEO_FEATURES:,}")
    return features


CHECKS: Mapping[str, Callable[[object], Any]] = {
    "user_id": _user_id,
    "vector": _vector,
    "location": _location,
    "interests": _interests,
    "video_features": _video_features,
}
