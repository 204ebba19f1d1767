"""The way from the guide's collection: import the vectors, then adopt. What PostgreSQL has changed since the import is no loss."""

from __future__ import annotations

import pytest
from qdrant_client import models

from tests.factories import unit_vector
from tests.support.commands import outcome
from tests.vectorstore.adoption.guide import OTHER_VECTOR, create_guide_collection, fill, point
from tests.vectorstore.retention.unique_points import as_strings, point_ids, users_without_embedding
from vectorstore.adoption.adopt import Options, adopt
from vectorstore.catalog import registry
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import collection_name, qdrant

pytestmark = pytest.mark.django_db(transaction=True)


def imported(*arguments: str) -> tuple[int, str]:
    return outcome("import_embeddings", "--from-collection", collection_name(), "--model", "test-model", *arguments)


def test_adopt__after_the_import__replaces_the_collection(every_store: str) -> None:
    users = users_without_embedding(5)
    create_guide_collection(point(user, vector=unit_vector(number)) for number, user in enumerate(users))
    assert outcome("init_qdrant", "--adopt")[0] == 2
    assert imported() == (0, "")
    assert outcome("init_qdrant", "--adopt") == (0, "")
    assert point_ids() == as_strings(users)


def test_adopt__rejected_points__discard_vectors_covers_exactly_those(every_store: str) -> None:
    users = users_without_embedding(4)
    create_guide_collection(map(point, users))
    fill([point(7, user_id=str(users[0])), point(users[3], vector=[0.0] * 512), point(users[2], user_id=str(users[1]))])
    assert imported()[0] == 1
    # The first user has a row by now, so the point with a number is a point without a user.
    for limit in ("0", "1"):
        code, line = outcome("init_qdrant", "--adopt", "--discard-vectors", limit)
        assert (code, "2 cannot be imported" in line) == (2, True)
    assert outcome("init_qdrant", "--adopt", "--discard-vectors", "2") == (0, "")
    assert point_ids() == as_strings(users[:2])


def test_adopt__postgresql_was_changed_since_the_import__needs_no_permission(store: str) -> None:
    """Services write to PostgreSQL between the import and the adoption."""
    users = users_without_embedding(4)
    create_guide_collection(point(user, vector=unit_vector(number)) for number, user in enumerate(users))
    assert imported() == (0, "")
    ProfileEmbedding.objects.filter(pk=users[0]).update(vector=OTHER_VECTOR)
    ProfileEmbedding.objects.filter(pk=users[1]).delete()
    result = adopt()
    assert (result.survey.different, result.survey.unique_vectors) == (0, 0)
    assert point_ids() == as_strings([users[0], *users[2:]])


def test_adopt__both_were_changed_since_the_import__is_refused_unless_discarded(store: str) -> None:
    users = users_without_embedding(2)
    create_guide_collection(point(user, vector=unit_vector(number)) for number, user in enumerate(users))
    assert imported() == (0, "")
    ProfileEmbedding.objects.filter(pk=users[0]).update(vector=OTHER_VECTOR)
    fill([point(users[0], vector=unit_vector(99))])
    code, line = outcome("init_qdrant", "--adopt")
    assert (code, "1 differs from PostgreSQL's" in line) == (2, True)
    assert imported()[0] == 1
    assert adopt(Options(discard_vectors=1)).survey.different == 1
    assert ProfileEmbedding.objects.get(pk=users[0]).vector == OTHER_VECTOR


@pytest.mark.parametrize("names", [("profile",), ("profile", "voice")])
def test_adopt__named_vector__is_the_one_that_was_imported(every_store: str, names: tuple[str, ...]) -> None:
    users = users_without_embedding(3)
    with qdrant() as client:
        client.create_collection(
            collection_name(), vectors_config={name: models.VectorParams(size=512, distance=models.Distance.COSINE) for name in names}
        )
        points = [
            models.PointStruct(id=str(user), vector={name: unit_vector(10 * number + len(name)) for name in names})
            for number, user in enumerate(users)
        ]
        client.upsert(collection_name(), points, wait=True)
    assert imported("--vector", "profile") == (0, "")
    assert outcome("init_qdrant", "--adopt") == (0, "")
    assert point_ids() == as_strings(users)
    if every_store != "embedded":
        assert point_ids(registry.copy_name()) == as_strings(users)
