"""What is searched for, checked before either store is asked."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from accounts.models import User
from findme.console.errors import NotDone
from vectorstore import vectors
from vectorstore.degrees import latitude, longitude
from vectorstore.interests import interest
from vectorstore.vectors import Reals

OLDEST = 150
"""Years, for the bounds of a search: no more than a guard against slips."""


@dataclass(frozen=True, slots=True)
class Near:
    """A circle on the earth: degrees, and kilometres. Raises NotDone for one that is none."""

    lat: float
    lon: float
    km: float

    def __post_init__(self) -> None:
        try:
            latitude(self.lat)
            longitude(self.lon)
        except ValueError as error:
            raise NotDone(f"The place to be near is none: {error}.") from None
        if not (math.isfinite(self.km) and self.km > 0):
            raise NotDone(f"The distance to be near is {self.km!r} km, and must be more than 0.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """``LAT,LON,KM``, as in ``52.52,13.405,25``. Raises NotDone."""
        try:
            lat, lon, km = map(float, text.split(","))
        except ValueError:
            raise NotDone(f"{text!r} is not LAT,LON,KM, as in 52.52,13.405,25.") from None
        return cls(lat, lon, km)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchQuery:
    """People like USER_ID, whose own vector in PostgreSQL is taken, or like VECTOR (512 numbers).

    Of the ``genders`` and of the ``interests`` one is enough; none given means all. Ages are whole years today (UTC), both bounds included.
    The person themself and those in ``exclude`` are never found. Raises NotDone for what cannot be searched for.
    """

    user_id: UUID | None = None
    vector: Reals | Sequence[float] | None = None
    genders: Collection[str] = ()
    min_age: int | None = None
    max_age: int | None = None
    near: Near | None = None
    interests: Collection[str] = ()
    exclude: Collection[UUID] = ()
    limit: int = 10

    def __post_init__(self) -> None:
        if (self.user_id is None) == (self.vector is None):
            raise NotDone("A search needs a person or a vector, and not both.")
        if self.vector is not None:
            object.__setattr__(self, "vector", _checked_vector(self.vector))
        self._check_genders()
        self._check_ages()
        self._check_interests()
        if self.limit < 1:
            raise NotDone(f"The limit is {self.limit}, and must be at least 1.")

    def _check_genders(self) -> None:
        for gender in self.genders:
            if gender not in User.Gender.values:
                raise NotDone(f"{gender!r} is no gender: it is one of {', '.join(User.Gender.values)}.")

    def _check_ages(self) -> None:
        for age in (self.min_age, self.max_age):
            if age is not None and not 0 <= age <= OLDEST:
                raise NotDone(f"The age {age} is out of range: an age is from 0 to {OLDEST}.")
        if self.min_age is not None and self.max_age is not None and self.min_age > self.max_age:
            raise NotDone(f"Nobody is at least {self.min_age} and at most {self.max_age} years old.")

    def _check_interests(self) -> None:
        try:
            for text in self.interests:
                interest(text)
        except ValueError as error:
            raise NotDone(f"This cannot be searched for: {error}.") from None

    @property
    def never_found(self) -> frozenset[UUID]:
        """The person themself, and who is excluded."""
        return frozenset(self.exclude) | ({self.user_id} if self.user_id is not None else set())

    def has_age(self, age: int) -> bool:
        """Whether AGE is within the bounds."""
        return (self.min_age is None or self.min_age <= age) and (self.max_age is None or age <= self.max_age)

    def has_gender(self, gender: str) -> bool:
        """Whether GENDER is one of those that are looked for."""
        return not self.genders or gender in self.genders


def _checked_vector(numbers: Reals | Sequence[float]) -> Reals:
    try:
        return vectors.vector(numbers if not isinstance(numbers, tuple) else list(numbers))
    except ValueError as error:
        raise NotDone(f"The vector {error}.") from None
