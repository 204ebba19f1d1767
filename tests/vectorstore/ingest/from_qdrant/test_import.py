"""Importing a collection: rows, differences since the last import, rejected points, invalid fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.db import connection
from qdrant_client import models

from accounts.models import User
from privacy.models import ErasedUser
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.qdrant import QdrantServer
from tests.vectorstore.ingest.from_qdrant.guide_points import (
    BERLIN,
    COSINE,
    bits,
    create,
    digest_of_collection,
    forget_queue,
    guide,
    import_all,
    point,
    queued,
    received,
    rejects,
    row_versions,
    stored,
    vector,
    write,
)
from vectorstore.ingest.from_qdrant import page as pages
from vectorstore.ingest.from_qdrant import points, run
from vectorstore.ingest.from_qdrant import stored as from_postgresql
from vectorstore.ingest.rows import Rejection
from vectorstore.models import ImportDigest, ProfileEmbedding, VectorImport
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.pages import Page
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db


@pytest.fixture
def users() -> list[User]:
    return sorted(UserFactory.create_batch(5), key=lambda user: user.pk)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PAGE_SIZE", 2)
    monkeypatch.setattr(run, "EMBEDDED_PAGE_SIZE", 2)


def test_import__points_of_the_guide__are_rows_with_the_same_bits(every_store: str, users: list[User]) -> None:
    """Every user is queued, and nothing in Qdrant changes."""
    bare = point(users[4], 4, location=None, interests=None, video_features=None)
    create([*(point(user, seed) for seed, user in enumerate(users[:4])), bare])
    before = digest_of_collection()
    imported = import_all(model="guide-1")
    assert (imported.read, imported.imported, imported.clean) == (5, 5, True)
    lengths = np.linalg.norm([row.vector for row in stored().values()], axis=1)
    assert imported.normalized is bool(np.isclose(lengths, 1).all()) is (every_store != "embedded")
    assert (imported.users_without_point, imported.differing_fields) == (0, {})
    vectors, rows = received(), stored()
    assert {str(user_id): bits(row.vector) for user_id, row in rows.items()} == {user_id: bits(found) for user_id, found in vectors.items()}
    assert [(row.location, row.interests, row.video_features, row.model) for row in (rows[user.pk] for user in users[:4])] == [
        (BERLIN, ["books", "sea"], [0.25, -1.5], "guide-1")
    ] * 4
    last = rows[users[4].pk]
    assert (last.location, last.interests, last.video_features) == (None, [], None)
    assert queued() == {user.pk for user in users}
    assert digest_of_collection() == before


def test_import__again__writes_nothing(every_store: str, users: list[User]) -> None:
    create(point(user, seed) for seed, user in enumerate(users))
    import_all()
    rows, digests = row_versions(), list(ImportDigest.objects.order_by("pk").values())
    forget_queue()
    again = import_all(model="another")
    assert (again.read, again.unchanged, again.written, again.clean) == (5, 5, 0, True)
    assert (row_versions(), queued(), list(ImportDigest.objects.order_by("pk").values())) == (rows, set(), digests)


def test_import__negative_zero_in_a_location__is_unchanged_afterwards(embedded_qdrant: Path, users: list[User]) -> None:
    """PostgreSQL stores 0.0. Later changes of the point are still recognized."""
    create([point(users[0], location={"lat": -0.0, "lon": -0.0})])
    import_all()
    assert import_all().unchanged == 1
    write([point(users[0], 9)])
    assert import_all().updated == 1


def test_import__differences__are_decided_by_what_was_imported(every_store: str, users: list[User], tmp_path: Path) -> None:
    """Only the point changed; only the row; both; both in the same way; the row was deleted."""
    create(point(user, seed) for seed, user in enumerate(users))
    import_all()
    point_changed, row_changed, both, both_alike, row_deleted = users
    write([point(point_changed, 11), point(both, 12, interests=["sea"]), point(both_alike, 13)])
    ProfileEmbedding.objects.filter(pk__in=[row_changed.pk, both.pk]).update(video_features=[9])
    ProfileEmbedding.objects.filter(pk=both_alike.pk).update(vector=vector(13))
    ProfileEmbedding.objects.filter(pk=row_deleted.pk).delete()
    forget_queue()
    again = import_all(rejects=tmp_path / "rejects")
    assert (again.updated, again.kept, again.conflicts, again.unchanged, again.rejected) == (1, 1, 2, 1, 0)
    assert again.reasons == {"conflict": 2} and not again.clean
    assert rejects(tmp_path / "rejects") == {
        str(both.pk): f"'{both.pk}': the row in profile_embeddings and the point differ, and the row is not that of the last import",
        str(row_deleted.pk): f"'{row_deleted.pk}': the row in profile_embeddings was deleted since its import",
    }
    vectors, rows = received(), stored()
    assert bits(rows[point_changed.pk].vector) == bits(vectors[str(point_changed.pk)])
    assert rows[both.pk].video_features == rows[row_changed.pk].video_features == [9]
    assert row_deleted.pk not in rows
    assert queued() == {point_changed.pk}
    replaced = import_all(replace=True)
    assert (replaced.replaced, replaced.kept, replaced.conflicts, replaced.clean) == (2, 1, 0, True)
    rows = stored()
    assert bits(rows[both.pk].vector) == bits(vectors[str(both.pk)]) and rows[both.pk].interests == ["sea"]
    assert bits(rows[row_deleted.pk].vector) == bits(vectors[str(row_deleted.pk)])
    assert import_all().clean


def test_import__rows_of_upsert_embeddings__are_equal_apart_from_rounding(every_store: str, users: list[User]) -> None:
    """A cosine collection has vectors of length 1. After such a row was found equal, a changed point is newer."""
    equal, other = users[:2]
    for user in (equal, other):
        ProfileEmbeddingFactory.create(
            user=user, vector=vector(1), location=BERLIN, interests=[" books", "sea", "sea"], video_features=[0.25, -1.5]
        )
    create([point(equal, 1), point(other, 2)])
    before = row_versions()
    first = import_all()
    assert (first.unchanged, first.conflicts) == (1, 1)
    assert first.first_findings[0].endswith("the row is not that of the last import")
    assert row_versions() == before
    write([point(equal, 3)])
    assert import_all().updated == 1
    assert bits(stored()[equal.pk].vector) == bits(received()[str(equal.pk)])


def test_import__other_distance__compares_every_bit(embedded_qdrant: Path, users: list[User]) -> None:
    """Without cosine distance, vectors keep their length."""
    create([point(users[0], 1), point(users[1], 2)], vectors_config=models.VectorParams(size=512, distance=models.Distance.DOT))
    ProfileEmbeddingFactory.create(
        user=users[1], vector=[2 * number for number in vector(2)], location=BERLIN, interests=["books", "sea"], video_features=[0.25, -1.5]
    )
    imported = import_all()
    assert (imported.imported, imported.conflicts, imported.normalized) == (1, 1, False)
    assert bits(stored()[users[0].pk].vector) == bits(vector(1))


def test_import__bad_points__are_rejected_and_do_not_stop_the_others(every_store: str, users: list[User], tmp_path: Path) -> None:
    good, deleted, anonymized, restored, zeros = users
    User.objects.filter(pk=deleted.pk).update(deleted_at="2026-01-01T00:00:00Z")
    ErasedUser.objects.create(user_id=restored.pk, deleted=False)
    ErasedUser.objects.create(user_id=anonymized.pk, deleted=False)
    User.objects.filter(pk=anonymized.pk).update(deleted_at="2026-01-01T00:00:00Z")
    unknown, erased, another = uuid4(), uuid4(), uuid4()
    ErasedUser.objects.create(user_id=erased, deleted=True)
    numbered = models.PointStruct(id=7, vector=vector(7), payload={"user_id": str(good.pk), "interests": ["sea"]})
    create(
        [
            *(point(user, seed) for seed, user in enumerate(users[:4])),
            models.PointStruct(id=str(zeros.pk), vector=[0.0] * 512, payload={}),
            *(models.PointStruct(id=str(user_id), vector=vector(5), payload={}) for user_id in (unknown, erased)),
            models.PointStruct(id=str(another), vector=vector(5), payload={"user_id": str(good.pk)}),
            numbered,
        ]
    )
    imported = import_all(rejects=tmp_path / "rejects")
    assert (imported.read, imported.imported, imported.rejected) == (9, 1, 8)
    assert imported.reasons == {"erased user": 3, "bad user_id": 2, "deleted user": 1, "unknown user": 1, "bad vector": 1}
    erased_reason = "the user '{}' was anonymized or deleted for good"
    assert rejects(tmp_path / "rejects") == {
        "7": f"the id of the point is the number 7, and a user's id is a UUID. Its user_id is '{good.pk}'",
        str(deleted.pk): f"the user '{deleted.pk}' is deleted",
        str(anonymized.pk): erased_reason.format(anonymized.pk),
        str(restored.pk): erased_reason.format(restored.pk),
        str(erased): erased_reason.format(erased),
        str(unknown): f"no user has the id '{unknown}'",
        str(another): f"the id of the point is '{another}', and its user_id is '{good.pk}'",
        str(zeros.pk): "vector is all zeros as 32-bit numbers: it has no direction",
    }
    assert stored().keys() == {good.pk}
    line = next(json.loads(line) for line in (tmp_path / "rejects").read_text().splitlines())
    assert (line["file"], line["line"]) == (guide(), 1)
    assert (line["row"]["interests"], bits(line["row"]["vector"])) == (["sea"], bits(received()["7"]))


def test_import__restricted_user_is_stored__objecting_user_is_rejected(every_store: str, users: list[User], tmp_path: Path) -> None:
    """The import only stores what would be lost with the point (article 18 (2)). The data of an objecting user get into no file either."""
    good, restricted, objecting = users[:3]
    User.objects.filter(pk=restricted.pk).update(restricted_at="2026-01-01T00:00:00Z")
    User.objects.filter(pk=objecting.pk).update(objected_at="2026-01-01T00:00:00Z")
    create([point(user, seed) for seed, user in enumerate((good, restricted, objecting))])
    imported = import_all(rejects=tmp_path / "rejects")
    assert (imported.imported, imported.reasons, imported.users_with_point) == (2, {"objecting user": 1}, 2)
    assert rejects(tmp_path / "rejects") == {
        str(objecting.pk): f"the user '{objecting.pk}' objected to searches and matches, or withdrew the consent"
    }
    assert stored().keys() == {good.pk, restricted.pk}
    (line,) = (json.loads(line) for line in (tmp_path / "rejects").read_text().splitlines())
    assert line["row"].keys() == {"user_id", "shortened"}


def test_import__data_of_users_who_are_gone__do_not_get_into_the_rejects(every_store: str, users: list[User], tmp_path: Path) -> None:
    """Neither as a point of such a user, nor as an invalid one, nor as one whose payload names the user. An unknown user may be deleted."""
    deleted, erased, living = users[:3]
    User.objects.filter(pk=deleted.pk).update(deleted_at="2026-01-01T00:00:00Z")
    ErasedUser.objects.create(user_id=erased.pk, deleted=False)
    named = [models.PointStruct(id=str(uuid4()), vector=vector(3), payload={"user_id": str(user.pk)}) for user in (deleted, erased)]
    numbered = models.PointStruct(id=7, vector=vector(7), payload={"user_id": str(erased.pk), "location": BERLIN})
    invalid = models.PointStruct(id=str(erased.pk), vector=[0.0] * 512, payload={"interests": ["sea"]})
    unknown = [models.PointStruct(id=str(uuid4()), vector=vector(4), payload={"interests": ["sea"]})]
    unknown.append(models.PointStruct(id=9, vector=vector(4), payload={"user_id": str(uuid4())}))
    kept = models.PointStruct(id=8, vector=vector(8), payload={"user_id": str(living.pk), "location": BERLIN})
    also_kept = models.PointStruct(id=str(uuid4()), vector=vector(8), payload={"user_id": str(living.pk), "location": BERLIN})
    create([point(deleted, 1), invalid, *named, numbered, kept, *unknown, also_kept])
    for dry_run in (True, False):
        assert import_all(rejects=tmp_path / "rejects", dry_run=dry_run).rejected == 9
        rows = [json.loads(line)["row"] for line in (tmp_path / "rejects").read_text().splitlines()]
        whole = [row for row in rows if row.keys() != {"user_id", "shortened"}]
        ids = [8, also_kept.id]
        assert [(row["user_id"], row["location"], bits(row["vector"])) for row in whole] == [
            (point_id, BERLIN, bits(received()[str(point_id)])) for point_id in ids
        ]


def test_candidates__nan__is_a_text_in_the_rejects() -> None:
    """JSON has no NaN. Qdrant sends them by gRPC."""
    payload = {"location": {"lat": float("nan"), "lon": float("-inf")}}
    page = Page([1], [payload], np.full((1, 512), np.nan, np.float32), [512])
    [found] = points.candidates(page, "guide", 1)
    assert isinstance(found, Rejection)
    assert found.original() == {"user_id": 1, "vector": ["NaN"] * 512, "location": {"lat": "NaN", "lon": "-Infinity"}}


@pytest.mark.qdrant_server
def test_import__strict_mode_limits_queries__reads_smaller_pages(
    server: QdrantServer, users: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PAGE_SIZE", 500)
    create((point(user) for user in users), strict_mode_config=models.StrictModeConfig(enabled=True, max_query_limit=2))
    assert import_all().imported == 5


@pytest.mark.qdrant_server
def test_import__nan_and_missing_vectors__are_rejected(qdrant_server_grpc: QdrantServer, users: list[User], tmp_path: Path) -> None:
    """By gRPC, Qdrant accepts a NaN. A point need not have every named vector."""
    create(vectors_config={"face": COSINE, "voice": COSINE})
    with qdrant() as client:
        client.upsert(
            guide(),
            [
                models.PointStruct(id=str(users[0].pk), vector={"face": [float("nan"), *vector(0)[1:]], "voice": vector(0)}),
                models.PointStruct(id=str(users[1].pk), vector={"voice": vector(1)}),
                models.PointStruct(id=str(users[2].pk), vector={"face": vector(2), "voice": vector(3)}),
            ],
            wait=True,
        )
    imported = import_all(vector="face", rejects=tmp_path / "rejects")
    assert (imported.imported, imported.rejected, imported.vector) == (1, 2, "face")
    reasons = rejects(tmp_path / "rejects")
    assert reasons == {str(users[0].pk): "vector number 1 is NaN", str(users[1].pk): "the point has no vector"}
    assert bits(stored()[users[2].pk].vector) == bits(received()[str(users[2].pk)]["face"])


def test_import__named_vector__is_chosen(every_store: str, users: list[User]) -> None:
    """Two vectors of one collection are two imports."""
    create(vectors_config={"face": COSINE, "voice": COSINE})
    write([models.PointStruct(id=str(users[0].pk), vector={"face": vector(1), "voice": vector(2)}, payload={})])
    assert import_all(vector="voice").imported == 1
    assert bits(stored()[users[0].pk].vector) == bits(received()[str(users[0].pk)]["voice"])
    assert import_all(vector="face").conflicts == 1


def test_import__vector_without_a_name_next_to_sparse_ones__is_imported(every_store: str, users: list[User]) -> None:
    """Qdrant then sends all vectors by their names."""
    create(sparse_vectors_config={"words": models.SparseVectorParams()})
    sparse = models.SparseVector(indices=[1, 7], values=[0.5, 0.25])
    write([models.PointStruct(id=str(users[0].pk), vector={"": vector(1), "words": sparse}, payload={})])
    assert import_all().imported == 1
    found = received()[str(users[0].pk)]
    assert bits(stored()[users[0].pk].vector) == bits(found[""] if isinstance(found, dict) else found)


INVALID: dict[str, list[object]] = {
    "location": [{"lat": 91, "lon": 0}, {"lat": 1}, [BERLIN], "Berlin"],
    "interests": ["sea", [1], [""], ["sea"] + [f"interest {number}" for number in range(100)], ["x" * 101]],
    "video_features": ["0.5", [True], [1e39], [0.5] * 1025],
}


def test_import__invalid_fields__are_left_out_and_the_vector_is_imported(embedded_qdrant: Path, tmp_path: Path) -> None:
    cases = [(name, value) for name, values in INVALID.items() for value in values]
    users = UserFactory.create_batch(len(cases))
    create(point(user, 1, **{name: value}) for user, (name, value) in zip(users, cases, strict=True))
    imported = import_all(rejects=tmp_path / "rejects")
    assert (imported.imported, imported.rejected, imported.clean) == (len(cases), 0, False)
    assert imported.invalid_fields == {name: len(values) for name, values in INVALID.items()}
    rows, reasons = stored(), rejects(tmp_path / "rejects")
    empty: dict[str, Any] = {"location": None, "interests": [], "video_features": None}
    for user, (name, value) in zip(users, cases, strict=True):
        row = rows[user.pk]
        assert getattr(row, name) == empty[name], value
        assert [getattr(row, other) for other in empty if other != name].count(empty[name]) == 0
        assert reasons[str(user.pk)].startswith(f"'{user.pk}': {name} was left out: ")
    again = import_all()
    assert (again.unchanged, again.invalid_fields) == (len(cases), imported.invalid_fields)


def test_import__fields_of_users__are_compared_and_counted(embedded_qdrant: Path, users: list[User]) -> None:
    changes: list[dict[str, Any]] = [{"gender": "unknown", "age": 7}, {"age": "old"}, {"active": False, "verified": False}, {"age": None}]
    create(point(user, 1, **change) for user, change in zip(users, changes, strict=False))
    before = list(User.objects.order_by("pk").values())
    UserFactory.create(staff=True), UserFactory.create(deleted=True)
    imported = import_all()
    assert imported.differing_fields == {"gender": 1, "age": 2, "active": 1, "verified": 1}
    assert (imported.users_without_point, imported.clean) == (1, True)
    assert list(User.objects.filter(pk__in=[user.pk for user in users]).order_by("pk").values()) == before


def test_import__dry_run__counts_and_writes_only_the_rejects(every_store: str, users: list[User], tmp_path: Path) -> None:
    create([*(point(user, seed) for seed, user in enumerate(users[:3])), models.PointStruct(id=7, vector=vector(7), payload={})])
    planned = import_all(dry_run=True, rejects=tmp_path / "rejects")
    assert (planned.imported, planned.rejected, planned.users_without_point) == (3, 1, 2)
    assert rejects(tmp_path / "rejects").keys() == {"7"}
    assert not (ProfileEmbedding.objects.exists() or VectorImport.objects.exists() or ImportDigest.objects.exists() or queued())
    import_all()
    write([point(users[0], 9)])
    known = list(VectorImport.objects.values())
    assert import_all(dry_run=True).updated == 1
    assert list(VectorImport.objects.values()) == known
    assert bits(stored()[users[0].pk].vector) != bits(received()[str(users[0].pk)])


def test_import__alias__imports_its_collection(every_store: str, users: list[User]) -> None:
    create([point(users[0])])
    alias = f"{guide()}_alias"
    with qdrant() as client:
        client.update_collection_aliases(
            [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=guide(), alias_name=alias))]
        )
    imported = import_all(alias)
    assert (imported.collection, imported.alias, imported.imported) == (guide(), alias, 1)
    assert import_all().unchanged == 1


def test_import__own_collection__takes_points_of_other_programs_only(every_store: str, users: list[User]) -> None:
    """A service that still writes to Qdrant replaces a point of FindMe: its point has no version."""
    create(point(user, seed) for seed, user in enumerate(users[:3]))
    import_all()
    initialize()
    sync_once()
    live = f"{collection_name()}_v1"
    replaced, changed = users[:2]
    write([point(replaced, 11), point(changed, 12)], live)
    ProfileEmbedding.objects.filter(pk=changed.pk).update(interests=["sea"])
    imported = import_all(collection_name())
    assert (imported.collection, imported.own, imported.updated, imported.conflicts) == (live, 1, 1, 1)
    assert bits(stored()[replaced.pk].vector) == bits(received(live)[str(replaced.pk)])
    sync_once()
    found = point_of(replaced.pk)
    assert found is not None and "version" in found["payload"]
    assert import_all(collection_name()).own == 3


def test_import__user_is_deleted_meanwhile__is_rejected(embedded_qdrant: Path, users: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is checked again after the lock."""
    create(point(user, seed) for seed, user in enumerate(users[:2]))
    original = from_postgresql.locked_users

    def delete_first(ids: list[UUID]) -> Any:
        User.objects.filter(pk=users[0].pk).update(deleted_at="2026-01-01T00:00:00Z")
        return original(ids)

    monkeypatch.setattr(pages, "locked_users", delete_first)
    imported = import_all()
    assert (imported.imported, imported.reasons) == (1, {"deleted user": 1})
    assert stored().keys() == {users[1].pk}


def test_import__row_appears_meanwhile__is_compared(embedded_qdrant: Path, users: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    create([point(users[0])])
    original = from_postgresql.locked_users

    def insert_first(ids: list[UUID]) -> Any:
        ProfileEmbeddingFactory.create(user=users[0], seed=99)
        return original(ids)

    monkeypatch.setattr(pages, "locked_users", insert_first)
    assert import_all().conflicts == 1


@pytest.mark.parametrize("owner", ["anonymize", "erase"])
def test_import__user_is_erased__no_digest_and_no_id_remains(embedded_qdrant: Path, users: list[User], owner: str) -> None:
    from privacy.registry import registry

    create(point(user, seed) for seed, user in enumerate(users))
    import_all()
    user = users[0]
    VectorImport.objects.update(last_point=str(user.pk), finished_at=None)
    [found] = [one for one in registry.owners if one.section == "vector_import"]
    exported = found.export(user.pk)
    assert isinstance(exported, dict) and exported["digest"]["user_id"] == user.pk
    getattr(found, owner)(user.pk)
    if owner == "erase":
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM users WHERE id = %s", [user.pk])
    assert not ImportDigest.objects.filter(pk=user.pk).exists()
    assert ImportDigest.objects.count() == 4
    assert VectorImport.objects.get().last_point == ""


def test_import__empty_collection__is_done(every_store: str) -> None:
    create()
    imported = import_all()
    assert (imported.read, imported.clean, imported.users_without_point) == (0, True, 0)
    assert VectorImport.objects.get().finished_at is not None
