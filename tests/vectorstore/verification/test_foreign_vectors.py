"""Vectors that another program wrote to Qdrant directly after the adoption: a repair does not overwrite them unasked."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from pytest_django import Settings

from tests.factories import ProfileEmbeddingFactory
from tests.support.collections import version
from tests.support.commands import outcome
from tests.vectorstore.adoption.guide import OTHER_VECTOR, fill, point
from tests.vectorstore.retention.unique_points import all_state, users_without_embedding
from vectorstore.models import QueueEntry
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _short_delays(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SYNC_RECHECK_SECONDS = 0.1
    monkeypatch.setattr("vectorstore.verification.merge_join.WAIT_SECONDS", 0)


def synced(count: int) -> list[UUID]:
    """Create users whose points are in a live collection. Return their ids in order."""
    initialize()
    users = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(count))
    assert sync_once(timeout=20).remaining.length == 0
    return users


def vector_of(user: UUID) -> list[float]:
    with qdrant() as client:
        (found,) = client.retrieve(collection_name(), [str(user)], with_vectors=True)
    assert isinstance(found.vector, list)
    return [float(str(number)) for number in found.vector]


def test_verify__vector_of_another_program__is_a_kind_of_its_own(every_store: str, capsys: pytest.CaptureFixture[str]) -> None:
    users = synced(3)
    fill([point(users[0], vector=OTHER_VECTOR, gender="female")])
    assert outcome("verify_qdrant") == (1, "")
    printed = capsys.readouterr().out
    assert f"\n  1 foreign vector: {users[0]}\n" in printed
    assert (
        f"\n  Another program wrote the 1 foreign vector. To keep them: manage.py import_embeddings --from-collection {version(1)}\n"
        in printed
    )
    assert printed.endswith("To repair this: manage.py verify_qdrant --repair --discard-vectors 1, or store those vectors first\n")
    assert outcome("verify_qdrant", "--json") == (1, "")
    kinds = json.loads(capsys.readouterr().out)["collections"][0]["kinds"]
    assert (kinds["foreign vector"], kinds["stale vector"], kinds["stale payload"]) == (1, 0, 1)


def test_repair__vector_of_another_program__stops_and_names_the_import(every_store: str) -> None:
    users = synced(3)
    fill([point(users[0], vector=OTHER_VECTOR)])
    before = all_state()
    for arguments in ([], ["--force"], ["--max-changes", "9"]):
        assert outcome("verify_qdrant", "--repair", *arguments) == (
            2,
            (
                f"Another program wrote 1 vector to {version(1)!r}: nothing was changed. Run manage.py import_embeddings --from-collection {version(1)},"
                " then repair again, or add --discard-vectors 1."
            ),
        )
    assert all_state() == before
    assert outcome("verify_qdrant", "--repair", "--discard-vectors", "1") == (1, "")
    sync_once(timeout=20)
    assert verify().clean
    assert vector_of(users[0])[:3] != [pytest.approx(1 / 512**0.5)] * 3


def test_repair__vector_was_imported__writes_the_point_again(store: str) -> None:
    users = synced(2)
    fill([point(users[0], vector=OTHER_VECTOR)])
    embedding = ProfileEmbeddingFactory._meta.model.objects.get(pk=users[0])
    embedding.vector = OTHER_VECTOR
    embedding.save()
    QueueEntry.objects.all().delete()
    verified = verify(repairing=True)
    assert (verified.foreign_vectors, verified.queued) == (0, 1)
    sync_once(timeout=20)
    assert verify().clean


@pytest.mark.parametrize("written", ["zeros", "own version"])
def test_repair__vector_that_no_import_could_store__is_overwritten(store: str, written: str) -> None:
    """A vector of zeros is worth nothing. A point with a version was written by a worker."""
    (user,) = synced(1)
    fill([point(user, vector=[0.0] * 512) if written == "zeros" else point(user, vector=OTHER_VECTOR, version=1)])
    verified = verify(repairing=True)
    assert (verified.foreign_vectors, verified.collections[0].kinds["stale vector"], verified.queued) == (0, 1, 1)
    sync_once(timeout=20)
    assert verify().clean


def test_repair__unique_and_foreign_vectors__are_counted_together(embedded_qdrant: object) -> None:
    (user,) = synced(1)
    (unstored,) = users_without_embedding(1)
    fill([point(user, vector=OTHER_VECTOR), point(unstored)])
    assert outcome("verify_qdrant", "--repair", "--discard-vectors", "1")[0] == 2
    assert outcome("verify_qdrant", "--repair", "--discard-vectors", "2") == (1, "")
    sync_once(timeout=20)
    assert verify().clean
