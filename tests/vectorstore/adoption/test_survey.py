"""Which vectors an adoption would lose, and what it says of them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db import connection
from qdrant_client import models

from accounts.models import User
from findme.core.commands.progress import ignore_progress
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.support.collections import version
from tests.support.commands import manage, outcome
from tests.vectorstore.adoption.guide import OTHER_VECTOR, create_guide_collection, fill, guide_collection_of, point
from tests.vectorstore.adoption.test_adopt import create_foreign_collection
from tests.vectorstore.retention.unique_points import all_state, as_strings, point_ids, users_without_embedding
from vectorstore.adoption.adopt import Options, adopt
from vectorstore.adoption.survey import Survey, Vectors
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import collection_name, qdrant

pytestmark = pytest.mark.django_db(transaction=True)

ZEROS = [0.0] * 512


def importing(collection: str = "") -> str:
    return f"Run manage.py import_embeddings --from-collection {collection or collection_name()}, then rerun"


def refusal(points: int, reasons: str, next_step: str, *, what: str = "nothing was changed") -> tuple[int, str]:
    return 2, f"Of {points} vectors in {collection_name()!r}, {reasons}: {what}. {next_step}."


def test_adopt__vectors_missing_in_postgresql__is_always_refused(every_store: str) -> None:
    create_guide_collection(map(point, missing := users_without_embedding(50)))
    before = all_state()
    for arguments in ([], ["--force"], ["--max-changes", "1000"], ["--discard-vectors", "1000"]):
        assert outcome("init_qdrant", "--adopt", *arguments) == refusal(50, "50 are missing in PostgreSQL", f"{importing()} this command")
    assert all_state() == before
    assert point_ids() == as_strings(missing)


@pytest.mark.at_length
def test_init_qdrant__adopt_with_missing_vectors__exits_2_in_a_process(embedded_qdrant: object) -> None:
    create_guide_collection(map(point, missing := users_without_embedding(120)))
    code, line = refusal(120, "120 are missing in PostgreSQL", f"{importing()} this command")
    assert manage("init_qdrant", "--adopt", "--force")[::2] == (code, f"{line}\n")
    assert point_ids() == as_strings(missing)


def test_adopt__vector_differs__is_refused_unless_discarded(every_store: str) -> None:
    users = guide_collection_of(3)
    fill([point(users[1], vector=OTHER_VECTOR)])
    expected = refusal(3, "1 differs from PostgreSQL's", f"{importing()}, with --discard-vectors 1 for the rest")
    assert outcome("init_qdrant", "--adopt", "--force") == expected
    result = adopt(Options(discard_vectors=1))
    assert (result.survey.different, result.survey.examples, result.removed) == (1, {"different": [str(users[1])]}, 0)
    assert point_ids() == as_strings(users)


def test_adopt__no_room_for_temporary_files__is_refused(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = guide_collection_of(3)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_options: Path("/dev/full").open("w+b", buffering=0))  # noqa: SIM115
    code, line = outcome("init_qdrant", "--adopt", "--temporary-folder", str(tmp_path))
    assert (code, line) == (
        2,
        (
            f"The folder {str(tmp_path)!r} cannot take a temporary file: No space left on device. Make room, or name another folder with"
            " --temporary-folder."
        ),
    )
    fill([point(users[0])])  # the fence is lifted
    assert point_ids() == as_strings(users)


def test_adopt__vectors_of_postgresql_with_another_length__are_equal(every_store: str) -> None:
    """The collection stores its vectors with length 1. PostgreSQL's vectors have any length."""
    users = guide_collection_of(3)
    for embedding in ProfileEmbedding.objects.all():
        embedding.vector = [1000 * number for number in embedding.vector]
        embedding.save()
    assert adopt().survey == Survey(points=3)
    assert point_ids() == as_strings(users)


def test_adopt__vectors_that_cannot_be_imported__need_discard_vectors(every_store: str) -> None:
    """A number as the id, an id that is no user's, a vector of zeros: an import rejects them, with and without a row in PostgreSQL."""
    (known, other) = guide_collection_of(2)
    (unstored,) = users_without_embedding(1)
    fill(
        [
            point(known, vector=ZEROS),
            point(unstored, vector=ZEROS),
            point(7, user_id=str(unstored)),
            point(uuid4(), user_id=str(unstored)),
        ]
    )
    expected = refusal(5, "4 cannot be imported", "Rerun with --discard-vectors 4")
    assert outcome("init_qdrant", "--adopt", "--discard-vectors", "3") == expected
    assert adopt(Options(discard_vectors=4)).removed == 4
    assert point_ids() == as_strings([known, other])


def test_adopt__collection_with_another_vector_size__needs_discard_vectors(store: str) -> None:
    users = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(2))
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    fill(models.PointStruct(id=str(user), vector=[1.0, 2.0, 3.0, 4.0]) for user in users)
    assert outcome("init_qdrant", "--adopt") == refusal(2, "2 cannot be imported", "Rerun with --discard-vectors 2")
    assert outcome("init_qdrant", "--adopt", "--discard-vectors", "2") == (0, "")
    assert point_ids() == as_strings(users)


def test_adopt__all_reasons__are_counted_apart(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    different, same = guide_collection_of(2)
    missing, zeros = users_without_embedding(2)
    fill([point(different, vector=OTHER_VECTOR), point(missing), point(zeros, vector=ZEROS), point(9)])
    before = all_state()
    reasons = "1 is missing in PostgreSQL, 1 differs and 1 cannot be imported"
    next_step = f"{importing()} this command"
    refused = refusal(5, reasons, next_step)
    assert outcome("init_qdrant", "--adopt", "--discard-vectors", "5") == refused
    assert len(refused[1].split()) <= 30
    assert outcome("init_qdrant", "--adopt", "--plan") == (0, "")
    printed = capsys.readouterr().out
    assert (
        f"\nOf 5 points, 1 has no user in PostgreSQL and would be removed.\nOf 5 vectors in {collection_name()!r}, {reasons}: --adopt"
        in printed
    )
    assert f"\n  different: {different}\n" in printed
    assert outcome("init_qdrant", "--adopt", "--plan", "--json") == (0, "")
    reported = json.loads(capsys.readouterr().out)
    assert (reported["adopted"]["orphans"], reported["unique_vectors"]) == (1, 1)
    assert (reported["adopted"]["different"], reported["adopted"]["unusable"]) == (1, 1)
    assert all_state() == before
    assert str(same) in point_ids()


def test_adopt__vectors_were_imported__replaces_the_collection(store: str) -> None:
    create_guide_collection(map(point, users := users_without_embedding(3)))
    for user in users:
        ProfileEmbeddingFactory.create(user=User.objects.get(pk=user), vector=OTHER_VECTOR)
    assert outcome("init_qdrant", "--adopt") == (0, "")
    assert point_ids() == as_strings(users)


def test_adopt__points_that_no_user_needs__are_removed(every_store: str) -> None:
    removable = [UserFactory.create(**{trait: True}).pk for trait in ("staff", "deleted", "anonymized")]
    ids: list[UUID | int] = [*removable, uuid4(), 7]
    create_guide_collection(map(point, ids))
    result = adopt()
    assert (result.survey.unique_vectors, result.survey.orphans, result.removed) == (0, 5, 5)
    assert point_ids() == set()


def test_adopt_in_place__vector_of_another_program_differs__is_refused(store: str) -> None:
    """Workers overwrite every point of a collection that is adopted in place."""
    users = [ProfileEmbeddingFactory.create().pk for _ in range(2)]
    create_foreign_collection([point(users[0], vector=OTHER_VECTOR), point(users[1], vector=OTHER_VECTOR, version=3)], None)
    before = all_state()
    assert outcome("init_qdrant", "--adopt", "--force") == (
        2,
        (
            f"1 point without a version in {version(1)!r} differs from PostgreSQL's vectors: nothing was changed. {importing(version(1))} this command, or"
            " add --discard-vectors 1."
        ),
    )
    assert all_state() == before
    assert adopt(Options(discard_vectors=1)).status == "green"


def as_ids(users: list[UUID]) -> models.PointIdsList:
    return models.PointIdsList(points=[*map(str, users)])


class TestChanges:
    """What ``changes`` finds of writes since the survey."""

    @pytest.mark.parametrize("seed", range(3))
    def test_changes__random_writes__finds_those_that_lose_a_vector(self, embedded_qdrant: object, seed: int) -> None:
        choose = random.Random(seed)
        users = guide_collection_of(30)
        unstored = users_without_embedding(10)
        with Vectors(collection_name(), replaced=True) as vectors:
            assert vectors.survey(ignore_progress) == Survey(points=30)
            overwritten = choose.sample(users, 5)
            added = choose.sample(unstored, 4)
            deleted = choose.sample(sorted({*users} - {*overwritten}), 5)
            fill([*(point(user, vector=OTHER_VECTOR) for user in overwritten), *map(point, added)])
            with qdrant() as client:
                client.delete(collection_name(), as_ids(deleted), wait=True)
            found = vectors.changes(ignore_progress)
            assert (found.points, found.different, found.unique_vectors) == (29, 5, 4)
            assert vectors.changes(ignore_progress) == found

    def test_changes__postgresql_has_newer_vectors__finds_nothing(self, embedded_qdrant: object) -> None:
        """The vectors were in PostgreSQL when they were compared. Services may store newer ones there meanwhile."""
        users = guide_collection_of(4)
        fill([point(3)])
        with Vectors(collection_name(), replaced=True) as vectors:
            vectors.survey(ignore_progress)
            ProfileEmbedding.objects.filter(pk=users[0]).update(vector=OTHER_VECTOR)
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM profile_embeddings WHERE user_id = %s", [users[1]])
            found = vectors.changes(ignore_progress)
        assert (found.different, found.unique_vectors, found.unusable) == (0, 0, 0)

    def test_changes__number_that_names_a_user__is_counted_once(self, embedded_qdrant: object) -> None:
        guide_collection_of(1)
        first, second = users_without_embedding(2)
        fill([point(1, user_id=str(first))])
        with Vectors(collection_name(), replaced=True) as vectors:
            survey = vectors.survey(ignore_progress)
            assert survey.unusable == 1
            assert survey.with_changes(vectors.changes(ignore_progress)).unusable == 1
            fill([point(2, user_id=str(second))])
            assert survey.with_changes(vectors.changes(ignore_progress)).unusable == 2
