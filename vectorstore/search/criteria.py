"""Search criteria, validated before PostgreSQL or Qdrant is queried."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from types import UnionType
from typing import Self
from uuid import UUID

from accounts.models import User
from findme.core.errors import UserFacingError
from vectorstore.projection import vectors
from vectorstore.projection.validation import interest, latitude, longitude, truncated_repr
from vectorstore.projection.vectors import Reals

MAX_AGE = 150
"""Highest age in years that a search accepts, against typing errors."""
MAX_SCORE = 1 + 1e-6
"""A score of 1, with the rounding of 32 bits."""


@dataclass(frozen=True, slots=True)
class Near:
    """A circle on the earth, in degrees and kilometers. Raises UserFacingError for invalid values."""

    lat: float
    lon: float
    km: float

    def __post_init__(self) -> None:
        try:
            latitude(self.lat)
            longitude(self.lon)
        except ValueError as error:
            raise UserFacingError(f"The center of the search area is invalid: {error}.") from None
        if not (_is_number(self.km) and math.isfinite(self.km) and self.km > 0):
            raise UserFacingError(f"The radius of the search area is {self.km!r} km. It must be more than 0.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``LAT,LON,KM``, such as ``52.52,13.405,25``. Raises UserFacingError."""
        try:
            lat, lon, km = map(float, text.split(","))
        except ValueError:
            raise UserFacingError(f"{text!r} is not LAT,LON,KM. Example: 52.52,13.405,25.") from None
        return cls(lat, lon, km)


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a hit in the order of all hits. The next page begins after it, even if users were added or removed meanwhile."""

    score: float
    user_id: UUID

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``SCORE:ID``, the format of ``str``. Raises UserFacingError."""
        score, _, user_id = text.partition(":")
        try:
            return cls(float(score), UUID(user_id))
        except ValueError:
            raise UserFacingError(f"{text!r} is not SCORE:ID, the score and id of the last user of the previous page.") from None

    def __str__(self) -> str:
        return f"{self.score!r}:{self.user_id}"

    def is_before(self, score: float, user_id: UUID) -> bool:
        """Return whether this place comes first: higher scores come first, equal scores in the order of the ids."""
        return (-self.score, self.user_id.int) < (-score, user_id.int)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchQuery:
    """Search for users similar to ``user_id`` (by the user's vector in PostgreSQL) or to ``vector`` (512 numbers).

    A user matches with one of the ``genders``, one of the ``interests``, and all of ``all_interests``. An empty list accepts all users. Ages are
    whole years today (UTC). Both bounds and ``min_score`` are inclusive. The user ``user_id`` and those in ``exclude`` are never found. The first
    ``offset`` hits are skipped, and so are all hits up to the place ``after``. Raises UserFacingError for invalid values.
    """

    user_id: UUID | None = None
    vector: Reals | Sequence[float] | None = None
    genders: Collection[str] = ()
    min_age: int | None = None
    max_age: int | None = None
    near: Near | None = None
    interests: Collection[str] = ()
    all_interests: Collection[str] = ()
    exclude: Collection[UUID] = ()
    min_score: float | None = None
    offset: int = 0
    after: Place | None = None
    limit: int = 10

    def __post_init__(self) -> None:
        self._check_types()
        if (self.user_id is None) == (self.vector is None):
            raise UserFacingError("A search needs either a user or a vector.")
        if self.vector is not None:
            object.__setattr__(self, "vector", _checked_vector(self.vector))
        self._check_genders()
        self._check_ages()
        self._check_interests()
        if self.limit < 1:
            raise UserFacingError(f"The limit is {self.limit}. It must be at least 1.")
        if self.offset < 0:
            raise UserFacingError(f"The offset is {self.offset}. It must be 0 or more.")
        for name, score in (
            ("minimum score", self.min_score),
            ("score of the previous page", None if self.after is None else self.after.score),
        ):
            # A NaN fails both comparisons.
            if score is not None and not (_is_number(score) and -MAX_SCORE <= score <= MAX_SCORE):
                raise UserFacingError(f"The {name} is {score!r}. A score is the cosine of two vectors, from -1 to 1.")

    def _check_types(self) -> None:
        """Check the types: values from a form or from JSON are often strings."""
        for name, (kind, wanted) in TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise UserFacingError(f"{name} is {truncated_repr(value)}. It must be {wanted}.")
        for name in ("genders", "interests", "all_interests", "exclude"):
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Collection):
                raise UserFacingError(f"{name} is {truncated_repr(values)}. It must be a list.")
        for user_id in self.exclude:
            if not isinstance(user_id, UUID):
                raise UserFacingError(f"exclude contains {truncated_repr(user_id)}. It must be a list of UUIDs.")

    def _check_genders(self) -> None:
        for gender in self.genders:
            if gender not in User.Gender.values:
                raise UserFacingError(f"The gender {gender!r} is unknown. Use one of {', '.join(User.Gender.values)}.")

    def _check_ages(self) -> None:
        for age in (self.min_age, self.max_age):
            if age is not None and not 0 <= age <= MAX_AGE:
                raise UserFacingError(f"The age {age} is out of range. It must be from 0 to {MAX_AGE}.")
        if self.min_age is not None and self.max_age is not None and self.min_age > self.max_age:
            raise UserFacingError(f"The minimum age {self.min_age} is greater than the maximum age {self.max_age}.")

    def _check_interests(self) -> None:
        try:
            for name in ("interests", "all_interests"):
                object.__setattr__(self, name, tuple(dict.fromkeys(map(interest, getattr(self, name)))))
        except ValueError as error:
            raise UserFacingError(f"The interests are invalid: {error}.") from None

    @property
    def never_found(self) -> frozenset[UUID]:
        """Return the excluded users and ``user_id``."""
        return frozenset(self.exclude) | ({self.user_id} if self.user_id is not None else set())

    @property
    def has_criteria(self) -> bool:
        """Return whether the query restricts the users."""
        return any(
            (self.genders, self.min_age is not None, self.max_age is not None, self.near, self.interests, self.all_interests, self.exclude)
        )

    @property
    def wanted(self) -> int:
        """Return how many hits are needed for a full page."""
        return self.offset + self.limit

    def wants(self, gender: str, age: int) -> bool:
        return self.has_gender(gender) and self.has_age(age)

    def has_score(self, score: float, user_id: UUID) -> bool:
        """Return whether the score is high enough and the hit is not on a previous page."""
        return (self.min_score is None or score >= self.min_score) and (self.after is None or self.after.is_before(score, user_id))

    def has_age(self, age: int) -> bool:
        """Return whether ``age`` is within the bounds."""
        return (self.min_age is None or self.min_age <= age) and (self.max_age is None or age <= self.max_age)

    def has_gender(self, gender: str) -> bool:
        """Return whether ``gender`` is one of the requested ones."""
        return not self.genders or gender in self.genders


TYPES: Mapping[str, tuple[type | UnionType, str]] = {
    "user_id": (UUID | None, "a UUID"),
    "min_age": (Real | None, "a number of years"),
    "max_age": (Real | None, "a number of years"),
    "near": (Near | None, "a Near(lat, lon, km)"),
    "min_score": (Real | None, "a number"),
    "after": (Place | None, "a Place(score, user_id)"),
    "offset": (Integral, "a whole number"),
    "limit": (Integral, "a whole number"),
}


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _checked_vector(numbers: Reals | Sequence[float]) -> Reals:
    try:
        return vectors.vector(numbers if not isinstance(numbers, tuple) else list(numbers))
    except ValueError as error:
        raise UserFacingError(f"The vector {error}.") from None
