"""Search criteria, and the errors for invalid ones before any request to a store."""

from __future__ import annotations

import math
from typing import Any, cast
from uuid import UUID

import numpy as np
import pytest

from findme.core.errors import UserFacingError
from vectorstore.search.criteria import Near, Place, SearchQuery

ANNE, BEN = UUID(int=1), UUID(int=2)
ONES = [1.0] * 512


def test_query__by_user__never_finds_the_user() -> None:
    query = SearchQuery(user_id=ANNE, exclude=[BEN])
    assert query.never_found == {ANNE, BEN}
    assert (query.limit, query.vector) == (10, None)


@pytest.mark.parametrize("vector", [ONES, tuple(ONES), np.ones(512), np.ones(512, np.float16)])
def test_query__by_vector__is_an_array_of_32_bits(vector: Any) -> None:
    query = SearchQuery(vector=vector)
    assert isinstance(query.vector, np.ndarray) and query.vector.dtype == np.float32
    assert query.never_found == set()


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({}, "A search needs either a user or a vector."),
        ({"user_id": ANNE, "vector": ONES}, "A search needs either a user or a vector."),
        ({"vector": ONES[1:]}, "The vector has 511 numbers, and must have 512."),
        ({"vector": [0.0] * 512}, "The vector is all zeros as 32-bit numbers: it has no direction."),
        ({"user_id": ANNE, "genders": ["female", "woman"]}, "The gender 'woman' is unknown. Use one of male, female, other."),
        ({"user_id": ANNE, "min_age": -1}, "The age -1 is out of range. It must be from 0 to 150."),
        ({"user_id": ANNE, "max_age": 151}, "The age 151 is out of range. It must be from 0 to 150."),
        ({"user_id": ANNE, "min_age": 31, "max_age": 30}, "The minimum age 31 is greater than the maximum age 30."),
        (
            {"user_id": ANNE, "interests": ["sea", ""]},
            "The interests are invalid: an interest must be a text that is not empty, not ''.",
        ),
        (
            {"user_id": ANNE, "interests": ["\ud800"]},
            "The interests are invalid: an interest has a character that PostgreSQL cannot store: '\\ud800'.",
        ),
        (
            {"user_id": ANNE, "all_interests": [" "]},
            "The interests are invalid: an interest must be a text that is not empty, not ' '.",
        ),
        (
            {"user_id": ANNE, "interests": ["x" * 101]},
            f"The interests are invalid: an interest has at most 100 characters, not 101: '{'x' * 27}...{'x' * 28}'.",
        ),
        ({"user_id": ANNE, "offset": -1}, "The offset is -1. It must be 0 or more."),
        ({"user_id": ANNE, "min_score": math.nan}, "The minimum score is nan. A score is the cosine of two vectors, from -1 to 1."),
        (
            {"user_id": ANNE, "after": Place(-1.5, BEN)},
            "The score of the previous page is -1.5. A score is the cosine of two vectors, from -1 to 1.",
        ),
        ({"user_id": ANNE, "limit": 0}, "The limit is 0. It must be at least 1."),
    ],
)
def test_query__invalid_value__fails(criteria: dict[str, Any], message: str) -> None:
    with pytest.raises(UserFacingError) as raised:
        SearchQuery(**criteria)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({"user_id": "x"}, "user_id is 'x'. It must be a UUID."),
        ({"user_id": str(ANNE)}, f"user_id is '{ANNE}'. It must be a UUID."),
        ({"vector": "x" * 512}, "The vector is not a list of numbers."),
        ({"user_id": ANNE, "genders": "male"}, "genders is 'male'. It must be a list."),
        ({"user_id": ANNE, "genders": [1]}, "The gender 1 is unknown. Use one of male, female, other."),
        ({"user_id": ANNE, "interests": "sea"}, "interests is 'sea'. It must be a list."),
        ({"user_id": ANNE, "all_interests": None}, "all_interests is null. It must be a list."),
        ({"user_id": ANNE, "interests": [1]}, "The interests are invalid: an interest must be a text that is not empty, not 1."),
        ({"user_id": ANNE, "exclude": str(BEN)}, f"exclude is '{BEN}'. It must be a list."),
        ({"user_id": ANNE, "exclude": [BEN, "x"]}, "exclude contains 'x'. It must be a list of UUIDs."),
        ({"user_id": ANNE, "min_age": "18"}, "min_age is '18'. It must be a number of years."),
        ({"user_id": ANNE, "max_age": True}, "max_age is true. It must be a number of years."),
        ({"user_id": ANNE, "near": (52.5, 13.4, 25)}, "near is (52.5, 13.4, 25). It must be a Near(lat, lon, km)."),
        ({"user_id": ANNE, "min_score": "0.5"}, "min_score is '0.5'. It must be a number."),
        ({"user_id": ANNE, "after": "0.5:x"}, "after is '0.5:x'. It must be a Place(score, user_id)."),
        (
            {"user_id": ANNE, "after": Place(cast("float", "x"), BEN)},
            "The score of the previous page is 'x'. A score is the cosine of two vectors, from -1 to 1.",
        ),
        ({"user_id": ANNE, "offset": 1.5}, "offset is 1.5. It must be a whole number."),
        ({"user_id": ANNE, "limit": None}, "limit is null. It must be a whole number."),
    ],
)
def test_query__wrong_type__fails(criteria: dict[str, Any], message: str) -> None:
    with pytest.raises(UserFacingError) as raised:
        SearchQuery(**criteria)
    assert str(raised.value) == message


def test_query__numpy_numbers__are_accepted() -> None:
    query = SearchQuery(user_id=ANNE, min_age=np.int64(20), min_score=np.float32(0.5), limit=np.int32(3))  # type: ignore[arg-type]
    assert query.has_age(20) and query.wanted == 3


def test_query__interests__are_trimmed_and_normalized() -> None:
    query = SearchQuery(user_id=ANNE, interests=["cafe\u0301", " caf\u00e9 ", "Caf\u00e9"], all_interests=(" sea",))
    assert (query.interests, query.all_interests) == (("caf\u00e9", "Caf\u00e9"), ("sea",))


def test_query__age_limits__are_inclusive() -> None:
    query = SearchQuery(user_id=ANNE, min_age=30, max_age=30)
    assert [age for age in range(28, 33) if query.has_age(age)] == [30]


def test_query__without_limits__accepts_every_age_and_gender() -> None:
    query = SearchQuery(user_id=ANNE)
    assert query.has_age(0) and query.has_age(200) and query.has_gender("other")


def test_near__three_numbers__are_parsed() -> None:
    assert Near.parse("-33.9, 18.4,2.5") == Near(-33.9, 18.4, 2.5)


@pytest.mark.parametrize("text", ["", "52", "52.5,13.4", "52.5,13.4,1,2", "Berlin", "a,b,c"])
def test_near__not_three_numbers__fails(text: str) -> None:
    with pytest.raises(UserFacingError) as raised:
        Near.parse(text)
    assert str(raised.value) == f"{text!r} is not LAT,LON,KM. Example: 52.52,13.405,25."


@pytest.mark.parametrize(
    ("lat", "lon", "km", "message"),
    [
        (91, 0, 1, "The center of the search area is invalid: lat is 91, and must be from -90 to 90."),
        (0, -180.5, 1, "The center of the search area is invalid: lon is -180.5, and must be from -180 to 180."),
        (math.nan, 0, 1, "The center of the search area is invalid: lat is nan, and must be from -90 to 90."),
        (0, 0, 0, "The radius of the search area is 0 km. It must be more than 0."),
        (0, 0, -1, "The radius of the search area is -1 km. It must be more than 0."),
        (0, 0, math.inf, "The radius of the search area is inf km. It must be more than 0."),
        (0, 0, math.nan, "The radius of the search area is nan km. It must be more than 0."),
    ],
)
def test_near__out_of_range__fails(lat: float, lon: float, km: float, message: str) -> None:
    with pytest.raises(UserFacingError) as raised:
        Near(lat, lon, km)
    assert str(raised.value) == message


@pytest.mark.parametrize(("lat", "lon"), [(90, 180), (-90, -180)])
def test_near__extreme_coordinates__are_accepted(lat: float, lon: float) -> None:
    assert Near(lat, lon, 0.001).km == 0.001


@pytest.mark.parametrize("score", [0.1, -1.0, 1.0, float(np.float32(0.8765432))])
def test_place__parsed_text__equals_the_place(score: float) -> None:
    assert Place.parse(str(Place(score, ANNE))) == Place(score, ANNE)


@pytest.mark.parametrize("text", ["", "0.5", f"0.5:{ANNE}:", f"much:{ANNE}", "0.5:anne"])
def test_place__invalid_text__fails(text: str) -> None:
    with pytest.raises(UserFacingError) as raised:
        Place.parse(text)
    assert str(raised.value) == f"{text!r} is not SCORE:ID, the score and id of the last user of the previous page."


def test_place__is_before__lower_scores_and_equal_scores_with_a_higher_id() -> None:
    place = Place(0.5, BEN)
    assert place.is_before(0.4, ANNE) and place.is_before(0.5, UUID(int=3))
    assert not any((place.is_before(0.6, UUID(int=3)), place.is_before(0.5, BEN), place.is_before(0.5, ANNE)))
