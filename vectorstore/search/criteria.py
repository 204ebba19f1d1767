"""What is searched for, checked before either store is asked."""

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

OLDEST = 150
"""Years, for the bounds of a search: no more than a guard against slips."""
BEST = 1 + 1e-6
"""A score of 1, as 32 bits may round it."""


@dataclass(frozen=True, slots=True)
class Near:
    """A circle on the earth: degrees, and kilometres. Raises UserFacingError for one that is none."""

    lat: float
    lon: float
    km: float

    def __post_init__(self) -> None:
        try:
            latitude(self.lat)
            longitude(self.lon)
        except ValueError as error:
            raise UserFacingError(f"The place to be near is none: {error}.") from None
        if not (_is_number(self.km) and math.isfinite(self.km) and self.km > 0):
            raise UserFacingError(f"The distance to be near is {self.km!r} km, and must be more than 0.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """``LAT,LON,KM``, as in ``52.52,13.405,25``. Raises UserFacingError."""
        try:
            lat, lon, km = map(float, text.split(","))
        except ValueError:
            raise UserFacingError(f"{text!r} is not LAT,LON,KM, as in 52.52,13.405,25.") from None
        return cls(lat, lon, km)


@dataclass(frozen=True, slots=True)
class Place:
    """Of a hit in the order of all hits: the next page begins after it, whoever has come or gone in between."""

    score: float
    user_id: UUID

    @classmethod
    def parse(cls, text: str) -> Self:
        """``SCORE:ID``, as it is written by ``str``. Raises UserFacingError."""
        score, _, user_id = text.partition(":")
        try:
            return cls(float(score), UUID(user_id))
        except ValueError:
            raise UserFacingError(f"{text!r} is not SCORE:ID, the score and the id of the last person of the page before.") from None

    def __str__(self) -> str:
        return f"{self.score!r}:{self.user_id}"

    def is_before(self, score: float, user_id: UUID) -> bool:
        """Best first, equal scores in the order of the ids."""
        return (-self.score, self.user_id.int) < (-score, user_id.int)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchQuery:
    """People like USER_ID, whose own vector in PostgreSQL is taken, or like VECTOR (512 numbers).

    Of the ``genders`` and of the ``interests`` one is enough; none given means all. Of ``all_interests`` a person has each. Ages are whole years
    today (UTC), both bounds included, and so is ``min_score``. The person themself and those in ``exclude`` are never found. The first ``offset``
    who would be found are passed over, and so is everybody up to the place ``after``. Raises UserFacingError for what cannot be searched
    for.
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
            raise UserFacingError("A search needs a person or a vector, and not both.")
        if self.vector is not None:
            object.__setattr__(self, "vector", _checked_vector(self.vector))
        self._check_genders()
        self._check_ages()
        self._check_interests()
        if self.limit < 1:
            raise UserFacingError(f"The limit is {self.limit}, and must be at least 1.")
        if self.offset < 0:
            raise UserFacingError(f"The offset is {self.offset}, and must be 0 or more.")
        for name, score in (("least score", self.min_score), ("score to go on after", None if self.after is None else self.after.score)):
            if score is not None and not (_is_number(score) and -BEST <= score <= BEST):  # NaN neither
                raise UserFacingError(f"The {name} is {score!r}: a score is the cosine of two vectors, from -1 to 1.")

    def _check_types(self) -> None:
        """What comes from a form or from JSON is often a text."""
        for name, (kind, wanted) in TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise UserFacingError(f"{name} is {truncated_repr(value)}, and must be {wanted}.")
        for name in ("genders", "interests", "all_interests", "exclude"):
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Collection):
                raise UserFacingError(f"{name} is {truncated_repr(values)}, and must be a list.")
        for user_id in self.exclude:
            if not isinstance(user_id, UUID):
                raise UserFacingError(f"exclude has {truncated_repr(user_id)}, and must be a list of UUIDs.")

    def _check_genders(self) -> None:
        for gender in self.genders:
            if gender not in User.Gender.values:
                raise UserFacingError(f"{gender!r} is no gender: it is one of {', '.join(User.Gender.values)}.")

    def _check_ages(self) -> None:
        for age in (self.min_age, self.max_age):
            if age is not None and not 0 <= age <= OLDEST:
                raise UserFacingError(f"The age {age} is out of range: an age is from 0 to {OLDEST}.")
        if self.min_age is not None and self.max_age is not None and self.min_age > self.max_age:
            raise UserFacingError(f"Nobody is at least {self.min_age} and at most {self.max_age} years old.")

    def _check_interests(self) -> None:
        try:
            for name in ("interests", "all_interests"):
                object.__setattr__(self, name, tuple(dict.fromkeys(map(interest, getattr(self, name)))))
        except ValueError as error:
            raise UserFacingError(f"This cannot be searched for: {error}.") from None

    @property
    def never_found(self) -> frozenset[UUID]:
        """The person themself, and who is excluded."""
        return frozenset(self.exclude) | ({self.user_id} if self.user_id is not None else set())

    @property
    def has_criteria(self) -> bool:
        """Whether not everybody is asked for."""
        return any(
            (self.genders, self.min_age is not None, self.max_age is not None, self.near, self.interests, self.all_interests, self.exclude)
        )

    @property
    def wanted(self) -> int:
        """How many have to be found until the page is whole."""
        return self.offset + self.limit

    def wants(self, gender: str, age: int) -> bool:
        return self.has_gender(gender) and self.has_age(age)

    def has_score(self, score: float, user_id: UUID) -> bool:
        """Whether a hit of this SCORE is good enough, and none of a page before."""
        return (self.min_score is None or score >= self.min_score) and (self.after is None or self.after.is_before(score, user_id))

    def has_age(self, age: int) -> bool:
        """Whether AGE is within the bounds."""
        return (self.min_age is None or self.min_age <= age) and (self.max_age is None or age <= self.max_age)

    def has_gender(self, gender: str) -> bool:
        """Whether GENDER is one of those that are looked for."""
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
