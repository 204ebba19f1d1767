"""Validation rejects values that PostgreSQL cannot store, with a message and without a query."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from accounts.models import User
from findme.core.db.validators import validate_storable
from tests.factories import VideoFactory
from vectorstore.models import ProfileEmbedding
from videos.models import Video

NOT_JSON = "This cannot be written as JSON: it has a NaN, an infinity, or too much depth."
NULL_CHARACTER = "Null characters are not allowed."
SURROGATE = "Half a character (a lone surrogate) cannot be stored."


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("model", "field", "value", "sentence"),
    [
        (User, "full_name", "a\0b", NULL_CHARACTER),
        (User, "bio", "\ud83d", SURROGATE),
        (User, "full_name", None, "This field cannot be null."),
        (Video, "metadata", None, "This field cannot be null."),
        (Video, "metadata", {"score": float("nan")}, NOT_JSON),
        (Video, "metadata", [{"deep": [float("-inf")]}], NOT_JSON),
        (Video, "metadata", deep(100_000), NOT_JSON),
        (Video, "metadata", [{"a\0": 1}], NULL_CHARACTER),
        (Video, "metadata", {"a": ["\udc00"]}, SURROGATE),
        (ProfileEmbedding, "interests", ["tea", "a\0"], NULL_CHARACTER),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else None,
)
def test_validate_storable__rejects(model: type[User | Video | ProfileEmbedding], field: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        validate_storable(model._meta.get_field(field), value)  # type: ignore[arg-type]  # the field has a column
    assert caught.value.messages == [sentence]


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        (User, "full_name", "Zoë 👩‍💻 \\u0000"),
        (User, "bio", None),
        (User, "id", None),
        (Video, "metadata", {"a": [1.5, None, True, "\\u0000", {"b": "é"}]}),
        (Video, "metadata", {}),
        (ProfileEmbedding, "interests", []),
    ],
)
def test_validate_storable__accepts(model: type[User | Video | ProfileEmbedding], field: str, value: Any) -> None:
    validate_storable(model._meta.get_field(field), value)  # type: ignore[arg-type]  # the field has a column


@pytest.mark.django_db
def test_full_clean__one_message_for_a_value_that_is_no_json() -> None:
    video = VideoFactory.create()
    video.metadata = {"a": object()}
    with pytest.raises(ValidationError) as caught:
        video.full_clean()
    assert caught.value.message_dict == {"metadata": ["Value must be valid JSON."]}
