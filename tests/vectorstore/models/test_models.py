from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from tests.schema.rows import ask
from vectorstore.models import VECTOR_SIZE, ProfileEmbedding
from vectorstore.models.embedding import PROJECTABLE_USER
from vectorstore.models.interests import distinct, normalized

pytestmark = pytest.mark.django_db


def test_vector__is_read_as_it_was_written() -> None:
    embedding = ProfileEmbeddingFactory.create(seed=3)
    embedding.refresh_from_db()
    assert embedding.vector == unit_vector(3)
    assert embedding.user.embedding == embedding
    assert str(embedding) == str(embedding.user_id)


def test_vector__is_rounded_to_four_bytes() -> None:
    embedding = ProfileEmbeddingFactory.create(vector=[0.1, 1e-50] + [0.0] * (VECTOR_SIZE - 2))
    embedding.refresh_from_db()
    assert embedding.vector[:2] == [pytest.approx(0.1, rel=1e-6), 0.0]


def test_vector_columns__are_stored_uncompressed() -> None:
    assert set(ask("SELECT attname, attstorage FROM pg_attribute WHERE attrelid = 'profile_embeddings'::regclass AND attname IN ('vector', 'video_features')")) == {
        ("vector", "e"),
        ("video_features", "e"),
    }  # fmt: skip


def test_create__uses_the_database_defaults() -> None:
    embedding = ProfileEmbedding.objects.create(user=UserFactory.create(), vector=unit_vector(1))
    embedding.refresh_from_db()
    assert (embedding.location, embedding.interests, embedding.video_features, embedding.model) == (None, [], None, "")


@pytest.mark.parametrize(
    ("field", "value", "messages"),
    [
        ("vector", [1.0], ["A vector has 512 numbers."]),
        ("vector", [float("nan"), *[0.5] * 511], ["A vector's numbers are finite."]),
        ("vector", [1e39, *[0.5] * 511], ["A vector's numbers are finite."]),
        ("vector", [0.0] * 512, ["A vector of zeros has no direction."]),
        ("vector", [], ["This field cannot be blank."]),
        ("location", {"lat": 91, "lon": 0}, ["A location is an object of lat (-90 to 90) and lon (-180 to 180)."]),
        ("location", {"lat": float("nan"), "lon": 0}, ["This cannot be written as JSON: it has a NaN, an infinity, or too much depth."]),
        ("video_features", [float("inf")], ["Video features are finite numbers."]),
        ("interests", None, ["This field cannot be null."]),
        ("interests", ["a\0"], ["Null characters are not allowed."]),
    ],
)  # fmt: skip
def test_full_clean__bad_value__has_its_message_on_the_field(field: str, value: Any, messages: list[str]) -> None:
    embedding = ProfileEmbeddingFactory.create()
    setattr(embedding, field, value)
    with pytest.raises(ValidationError) as caught:
        embedding.full_clean()
    assert caught.value.message_dict == {field: messages}


def test_save__interests__are_normalized() -> None:
    embedding = ProfileEmbeddingFactory.create(interests=["cafe\u0301", " caf\u00e9 ", "Caf\u00e9"])
    assert embedding.interests == ["caf\u00e9", "Caf\u00e9"]
    embedding.refresh_from_db()
    assert embedding.interests == ["caf\u00e9", "Caf\u00e9"]


def test_save__deferred_interests__are_not_read() -> None:
    key = ProfileEmbeddingFactory.create(interests=["sea"]).pk
    ProfileEmbedding.objects.filter(pk=key).update(interests=[" as it was written "])
    embedding = ProfileEmbedding.objects.only("model").get(pk=key)
    embedding.model = "another"
    embedding.save()
    embedding.refresh_from_db()
    assert (embedding.model, embedding.interests) == ("another", [" as it was written "])


def test_full_clean__interest_of_white_space__is_refused() -> None:
    embedding = ProfileEmbeddingFactory.create()
    embedding.interests = ["sea", " \t"]
    with pytest.raises(ValidationError) as caught:
        embedding.full_clean()
    assert caught.value.message_dict == {"interests": ["An interest must not be empty."]}
    with pytest.raises(IntegrityError), transaction.atomic():
        embedding.save()


@given(st.lists(st.text()))
def test_distinct__applied_twice__returns_the_same(interests: list[str]) -> None:
    once = distinct(interests)
    assert distinct(once) == once
    assert len(set(once)) == len(once)
    assert {normalized(interest) for interest in interests} == set(once)


def test_projectable__in_sql_and_in_the_orm__is_the_same() -> None:
    users = {
        (deleted, staff): ProfileEmbeddingFactory.create(user__is_staff=staff).pk for deleted in (False, True) for staff in (False, True)
    }
    User.objects.filter(pk__in=[pk for (deleted, _), pk in users.items() if deleted]).update(deleted_at=datetime(2026, 1, 1, tzinfo=UTC))
    in_sql = ask(f"SELECT user_id FROM profile_embeddings JOIN users ON users.id = user_id WHERE {PROJECTABLE_USER}")
    assert {row[0] for row in in_sql} == set(ProfileEmbedding.objects.projectable().values_list("pk", flat=True)) == {users[False, False]}
