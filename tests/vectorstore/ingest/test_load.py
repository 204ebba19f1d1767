"""Loading: the stored rows, and the reports about rejected rows."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django import DjangoDbBlocker

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.models import ErasedUser
from tests.at_length import examples
from tests.factories import ProfileEmbeddingFactory, UserFactory, now
from tests.vectorstore.ingest.inputs import json_lines, ones, row
from vectorstore.ingest import load
from vectorstore.ingest.load import Loaded, LoadInterrupted, upsert_embeddings
from vectorstore.models import ProfileEmbedding
from vectorstore.sync.results import BatchResult

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def sync_batches(monkeypatch: pytest.MonkeyPatch) -> list[list[UUID]]:
    """Replace the vector store. Return a list that receives the batches for it."""
    batches: list[list[UUID]] = []

    def sync_users(user_ids: Iterable[UUID]) -> BatchResult:
        batches.append(list(user_ids))
        return BatchResult(written=len(batches[-1]))

    monkeypatch.setattr(load, "sync_users", sync_users)
    return batches


def stored(user: User) -> ProfileEmbedding:
    return ProfileEmbedding.objects.get(pk=user.pk)


def rejected(loaded: Loaded) -> list[str]:
    return [text.rpartition("/")[2] for text in loaded.first_rejections]


def test_load__new_user_with_every_field__stores_all(tmp_path: Path, sync_batches: list[list[UUID]]) -> None:
    user = UserFactory.create()
    location = {"lat": 52.520008, "lon": -13}
    fields = {"vector": ones(), "location": location, "interests": ["sea", "Ⅻ"], "video_features": [0.5, -1]}
    loaded = upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(user.pk, **fields)])], model="clip-3")
    assert loaded == Loaded(read=1, loaded=1, new=1, projected=1)
    assert loaded.clean
    embedding = stored(user)
    assert (embedding.vector, embedding.location, embedding.interests) == (ones(), location, ["sea", "Ⅻ"])
    assert (embedding.video_features, embedding.model) == ([0.5, -1.0], "clip-3")
    assert sync_batches == [[user.pk]]


def test_load__only_the_vector__leaves_other_fields_empty(tmp_path: Path) -> None:
    user = UserFactory.create()
    upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones())])])
    embedding = stored(user)
    assert (embedding.location, embedding.interests, embedding.video_features, embedding.model) == (None, [], None, "")


def test_load__omitted_field__keeps_its_value(tmp_path: Path) -> None:
    before = ProfileEmbeddingFactory.create(model="old")
    loaded = upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(before.pk, vector=ones(2))])], model="new")
    after = ProfileEmbedding.objects.get()
    assert (loaded.loaded, loaded.new) == (1, 0)
    assert (after.vector, after.model) == (ones(2), "new")
    assert (after.location, after.interests, after.video_features) == (before.location, before.interests, before.video_features)


def test_load__null__clears_the_field(tmp_path: Path) -> None:
    before = ProfileEmbedding.objects.get(pk=ProfileEmbeddingFactory.create(model="old").pk)
    upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(before.pk, location=None, interests=None, video_features=None)])], model="new")
    after = ProfileEmbedding.objects.get()
    assert (after.location, after.interests, after.video_features) == (None, [], None)
    assert (after.vector, after.model) == (before.vector, "old")  # the stored vector was not made by the new model


def test_load__new_vector_without_a_model__clears_the_model(tmp_path: Path, settings: Any) -> None:
    before = ProfileEmbeddingFactory.create(model="old")
    path = json_lines(tmp_path / "x.jsonl", [row(before.pk, vector=ones())])
    upsert_embeddings([path])
    assert ProfileEmbedding.objects.get().model == ""
    settings.EMBEDDING_MODEL = "configured"
    upsert_embeddings([path])
    assert ProfileEmbedding.objects.get().model == "configured"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("x" * 256, f"The model name {'x' * 60!r}... has 256 characters. Use at most 255."),
        ("a\0", "The model name 'a\\x00' contains a character that PostgreSQL cannot store. Use another name."),
    ],
)
def test_load__model_that_cannot_be_stored__is_refused(tmp_path: Path, model: str, message: str) -> None:
    with pytest.raises(UserFacingError) as raised:
        upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(uuid4())])], model=model)
    assert str(raised.value) == message


def test_load__numbers__are_stored_as_32_bits(tmp_path: Path) -> None:
    user = UserFactory.create()
    vector = np.random.default_rng(1).standard_normal(512)
    upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=vector.tolist())])])
    assert np.array_equal(np.array(stored(user).vector, np.float32), vector.astype(np.float32))


def test_load__nil_uuid__is_rejected(tmp_path: Path) -> None:
    """No embedding may have this id, even if ``users`` has it."""
    zeros, good = UserFactory.create(id=UUID(int=0)), UserFactory.create()
    loaded = upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones()) for user in (zeros, good)])])
    assert (loaded.loaded, loaded.reasons) == (1, {"unknown user": 1})


def test_load__existing_embedding__updates_updated_at(tmp_path: Path) -> None:
    before = ProfileEmbeddingFactory.create()
    ProfileEmbedding.objects.update(created_at="2020-01-01T00:00:00Z")
    upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(before.pk, vector=ones())])])
    after = ProfileEmbedding.objects.get()
    assert after.created_at.year == 2020 and after.updated_at.year > 2020


def test_load__erased_user_who_is_no_longer_deleted__is_rejected(tmp_path: Path) -> None:
    """The database refuses the data of such a user, also in an existing row. The other rows are loaded."""
    restored, embedded, good = UserFactory.create(), ProfileEmbeddingFactory.create().user, UserFactory.create()
    for user in (restored, embedded):
        ErasedUser.objects.create(user_id=user.pk, deleted=False)
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones()) for user in (restored, embedded, good)])
    assert upsert_embeddings([path], dry_run=True).loadable == 1
    loaded = upsert_embeddings([path])
    assert (loaded.loaded, loaded.reasons) == (1, {"erased user": 2})
    assert rejected(loaded) == [
        f"x.jsonl:1: the user '{restored.pk}' was anonymized or deleted for good",
        f"x.jsonl:2: the user '{embedded.pk}' was anonymized or deleted for good",
    ]


def test_load__restricted_or_objecting_user__is_rejected(tmp_path: Path) -> None:
    """Their data may not be used for a new vector. The reason of a user who is also deleted or erased comes first."""
    restricted, objecting, both, deleted = (UserFactory.create(**{column: now() for column in columns}) for columns in HIDDEN)
    good = ProfileEmbeddingFactory.create().user
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones()) for user in (restricted, objecting, both, deleted, good)])
    assert upsert_embeddings([path], dry_run=True).loadable == 1
    loaded = upsert_embeddings([path])
    assert (loaded.loaded, loaded.reasons) == (1, {"restricted user": 2, "objecting user": 1, "deleted user": 1})
    assert rejected(loaded)[:2] == [
        f"x.jsonl:1: the data of the user '{restricted.pk}' may only be stored (article 18)",
        f"x.jsonl:2: the user '{objecting.pk}' objected to searches and matches, or withdrew the consent",
    ]
    assert list(ProfileEmbedding.objects.values_list("pk", flat=True)) == [good.pk]


def test_load__bad_rows__are_rejected_and_good_rows_loaded(tmp_path: Path, sync_batches: list[list[UUID]]) -> None:
    good, other, erased = UserFactory.create(), UserFactory.create(), UserFactory.create(deleted=True)
    unknown_id, empty = uuid4(), UserFactory.create()
    rows: list[object] = [
        "{",
        row(unknown_id, vector=ones()),
        row(good.pk, vector=ones()),
        row(erased.pk, vector=ones()),
        row(good.pk, vector=ones(2)),
        row(empty.pk, interests=["sea"]),
        row(other.pk, vector=[1]),
        row(other.pk, vector=ones(3)),
    ]
    rejects = tmp_path / "rejects.jsonl"
    path = json_lines(tmp_path / "x.jsonl", rows)
    loaded = upsert_embeddings([path], rejects=rejects)
    assert (loaded.read, loaded.loaded, loaded.rejected, loaded.projected) == (8, 2, 6, 2)
    assert loaded.reasons == {
        "not JSON": 1,
        "unknown user": 1,
        "deleted user": 1,
        "second row of a user": 1,
        "no vector": 1,
        "bad vector": 1,
    }
    assert not loaded.clean
    assert rejected(loaded) == [
        "x.jsonl:1: not JSON: Expecting property name enclosed in double quotes at character 2",
        f"x.jsonl:2: no user has the id '{unknown_id}'",
        f"x.jsonl:4: the user '{erased.pk}' is deleted",
        f"x.jsonl:5: '{good.pk}' was loaded from an earlier row",
        f"x.jsonl:6: '{empty.pk}' has no embedding yet: the first row needs a vector",
        "x.jsonl:7: vector has 1 number, and must have 512",
    ]
    assert stored(good).vector == ones() and stored(other).vector == ones(3)
    assert ProfileEmbedding.objects.count() == 2
    assert sync_batches == [[good.pk, other.pk]]
    reported = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [(line["file"], line["line"]) for line in reported] == [(path, number) for number in (1, 2, 4, 5, 6, 7)]
    assert [line["row"] for line in reported] == [rows[index] for index in (0, 1, 3, 4, 5, 6)]


def test_load__user_in_several_files_and_batches__only_the_first_row_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "ROWS_IN_A_BATCH", 2)
    users = UserFactory.create_batch(5)
    first = json_lines(tmp_path / "1.jsonl", [row(user.pk, vector=ones(1)) for user in users])
    second = json_lines(tmp_path / "2.jsonl", [row(user.pk, vector=ones(2)) for user in users])
    loaded = upsert_embeddings([first, second, first])
    assert (loaded.loaded, loaded.reasons) == (5, {"second row of a user": 10})
    assert all(stored(user).vector == ones(1) for user in users)


def test_load__same_file_twice__rejects_the_second_row(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "x.jsonl", [row(UserFactory.create().pk, vector=ones())])
    assert (upsert_embeddings([path, path])).reasons == {"second row of a user": 1}


def test_load__bad_first_row__next_good_row_is_loaded(tmp_path: Path) -> None:
    user = UserFactory.create()
    rows = [row(user.pk, vector=[1]), row(user.pk, interests=["sea"]), row(user.pk, vector=ones(2)), row(user.pk, vector=ones(3))]
    loaded = upsert_embeddings([json_lines(tmp_path / "x.jsonl", rows)])
    assert loaded.reasons == {"bad vector": 1, "no vector": 1, "second row of a user": 1}
    assert stored(user).vector == ones(2)


def test_load__second_run__loads_the_user_again(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "x.jsonl", [row(UserFactory.create().pk, vector=ones())])
    assert [upsert_embeddings([path]).new for _ in range(2)] == [1, 0]


def test_load__staff__are_stored_too(tmp_path: Path) -> None:
    """The projection excludes them from the vector store."""
    staff = UserFactory.create(staff=True)
    assert upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(staff.pk, vector=ones())])]).loaded == 1


def test_load__npz_parquet_and_standard_input__are_loaded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = UserFactory.create_batch(3)
    np.savez(tmp_path / "x.NPZ.npz", user_ids=np.array([str(first.pk)]), vectors=np.full((1, 512), 1, np.float16))
    columns = {"user_id": [str(second.pk)], "vector": [ones(2)], "interests": [["sea"]]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(row(third.pk, vector=ones(3))).encode() + b"\n{")))
    loaded = upsert_embeddings([str(tmp_path / "x.NPZ.npz"), str(tmp_path / "x.parquet"), "-"])
    assert (loaded.loaded, loaded.rejected) == (3, 1)
    assert [stored(user).vector[0] for user in (first, second, third)] == [1, 2, 3]
    assert stored(second).interests == ["sea"]
    assert rejected(loaded) == ["-:2: not JSON: Expecting property name enclosed in double quotes at character 2"]


def test_load__dry_run__reports_the_same_and_writes_nothing(
    tmp_path: Path, sync_batches: list[list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "ROWS_IN_A_BATCH", 2)
    users = UserFactory.create_batch(3)
    rows = [*(row(user.pk, vector=ones()) for user in users), row(users[0].pk, vector=ones()), row(uuid4(), vector=ones())]
    rejects = tmp_path / "rejects.jsonl"
    loaded = upsert_embeddings([json_lines(tmp_path / "x.jsonl", rows)], rejects=rejects, dry_run=True)
    assert (loaded.read, loaded.loaded, loaded.loadable, loaded.projected) == (5, 0, 3, 0)
    assert loaded.reasons == {"second row of a user": 1, "unknown user": 1}
    assert len(rejects.read_text().splitlines()) == 2
    assert not ProfileEmbedding.objects.exists() and sync_batches == []


def test_load__vector_store_unavailable__stores_all_rows_and_tries_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "ROWS_IN_A_BATCH", 2)
    requests = []

    def sync_users(user_ids: Iterable[UUID]) -> BatchResult:
        requests.append(user_ids)
        if len(requests) > 1:
            raise StoreUnavailable("Nothing answers\nthere.")
        return BatchResult(written=2)

    monkeypatch.setattr(load, "sync_users", sync_users)
    rows = [row(user.pk, vector=ones()) for user in UserFactory.create_batch(7)]
    loaded = upsert_embeddings([json_lines(tmp_path / "x.jsonl", rows)])
    assert loaded == Loaded(read=7, loaded=7, new=7, projected=2, awaiting_projection=5, why_not_projected="Nothing answers there.")
    assert len(requests) == 2 and ProfileEmbedding.objects.count() == 7
    assert not loaded.clean


def test_load__more_rows__need_no_more_queries(tmp_path: Path) -> None:
    users = UserFactory.create_batch(40)
    few = json_lines(tmp_path / "few.jsonl", [row(user.pk, vector=ones()) for user in users[:2]])
    many = json_lines(tmp_path / "many.jsonl", [row(user.pk, vector=ones()) for user in users[2:]])
    with CaptureQueriesContext(connection) as few_queries:
        upsert_embeddings([few])
    with CaptureQueriesContext(connection) as many_queries:
        upsert_embeddings([many])
    assert len(few_queries) == len(many_queries)


def test_load__reports_its_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "ROWS_IN_A_BATCH", 2)
    reports: list[tuple[int, int | None]] = []
    np.savez(tmp_path / "x.npz", user_ids=np.array([str(uuid4())] * 5), vectors=np.ones((5, 512)))
    path = json_lines(tmp_path / "x.jsonl", ["{"])
    upsert_embeddings([str(tmp_path / "x.npz")], report=lambda done, total=None: reports.append((done, total)))
    upsert_embeddings([str(tmp_path / "x.npz"), path], report=lambda done, total=None: reports.append((done, total)))
    assert reports == [(2, 5), (4, 5), (5, 5), (2, None), (4, None), (6, None)]


def test_load__large_rows__make_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync_batches: list[list[UUID]]) -> None:
    monkeypatch.setattr(load, "BYTES_IN_A_BATCH", 10_000)
    rows = [row(user.pk, vector=ones()) for user in UserFactory.create_batch(5)]
    upsert_embeddings([json_lines(tmp_path / "x.jsonl", rows)])
    assert [len(batch) for batch in sync_batches] == [2, 2, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "x.csv",
            "'x.csv' does not end in one of .jsonl, .ndjson, .npz, .parquet, which tells the format. Rename it, or send JSON Lines to standard input, '-'.",
        ),
        (
            "x",
            "'x' does not end in one of .jsonl, .ndjson, .npz, .parquet, which tells the format. Rename it, or send JSON Lines to standard input, '-'.",
        ),
        ("none.jsonl", "'none.jsonl' cannot be read: No such file or directory"),
    ],
)
def test_load__bad_input_name__loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    rejects = tmp_path / "rejects.jsonl"
    good = json_lines(tmp_path / "good.jsonl", [row(UserFactory.create().pk, vector=ones())])
    with pytest.raises(UserFacingError) as raised:
        upsert_embeddings([good, name], rejects=rejects)
    assert str(raised.value) == message
    assert not ProfileEmbedding.objects.exists() and not rejects.exists()


def test_load__standard_input_twice__is_refused() -> None:
    with pytest.raises(UserFacingError, match=r"^Standard input, '-', can be read only once\. Name '-' once\.$"):
        upsert_embeddings(["-", "-"])


def test_load__closed_standard_input__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserFacingError, match=r"^Standard input, '-', is closed\. Redirect a file to it, or name a file\.$"):
        upsert_embeddings(["-"])


def test_load__damaged_file__stops_and_reports_what_was_loaded(tmp_path: Path, sync_batches: list[list[UUID]]) -> None:
    users = UserFactory.create_batch(300)
    path, rejects = tmp_path / "x.npz", tmp_path / "rejects.jsonl"
    vectors = np.ones((300, 512), np.float32)
    vectors[0] = 0
    np.savez(path, user_ids=np.array([str(user.pk) for user in users]), vectors=vectors)
    content = bytearray(path.read_bytes())
    content[content.rindex(np.float32(1).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(LoadInterrupted) as raised:
        upsert_embeddings([str(path)], rejects=rejects)
    assert str(raised.value) == (
        f"{str(path)!r} is damaged or not an .npz file: Bad CRC-32 for file 'vectors.npy'."
        " Loaded before that: 255 rows. Repair this, then run the command again: rows may be loaded twice."
    )
    assert (raised.value.loaded.loaded, raised.value.loaded.rejected) == (255, 1)
    assert ProfileEmbedding.objects.count() == 255 and len(sync_batches[0]) == 255
    assert len(rejects.read_text().splitlines()) == 1


def test_load__blank_input__is_reported(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "x.jsonl", ["", " "])
    with pytest.raises(LoadInterrupted, match=r"x\.jsonl' contains no rows\. Check the job that writes it\. Loaded before that: 0 rows\."):
        upsert_embeddings([path])


def test_load__file_name_is_not_utf8__is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "\udcff.jsonl"
    path.write_text("{")
    (reported,) = upsert_embeddings([str(path)], rejects=tmp_path / "rejects").first_rejections
    assert reported.startswith(f"{tmp_path}/\\udcff.jsonl:1: not JSON")
    assert json.loads((tmp_path / "rejects").read_text())["file"] == str(path)


def test_load__file_name_with_control_characters__is_escaped(tmp_path: Path) -> None:
    """A terminal would execute them, and a log would get a second line."""
    (reported,) = upsert_embeddings([json_lines(tmp_path / "a\n\x1b[31mb é.jsonl", ["{"])]).first_rejections
    assert reported == f"{tmp_path}/a\\n\\x1b[31mb é.jsonl:1: not JSON: Expecting property name enclosed in double quotes at character 2"


def test_load__many_rejections__returns_the_first_20(tmp_path: Path) -> None:
    loaded = upsert_embeddings([json_lines(tmp_path / "x.jsonl", ["{"] * 30)])
    assert (loaded.rejected, len(loaded.first_rejections)) == (30, 20)


def test_load__leaves_no_temporary_table(tmp_path: Path) -> None:
    upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(UserFactory.create().pk, vector=ones())])])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'embeddings_%%'")
        assert cursor.fetchone() == (0,)


# --- Any rows, against a reference implementation -------------------------------------------------------------------------------------

HIDDEN = [("restricted_at",), ("objected_at",), ("restricted_at", "objected_at"), ("restricted_at", "deleted_at")]
USERS = [UUID(int=number) for number in range(1, 6)]
DELETED, UNKNOWN = UUID(int=8), UUID(int=9)

GOOD_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "vector": st.integers(1, 9).map(lambda number: ones(float(number))),
        "location": st.none() | st.builds(lambda lat, lon: {"lat": lat, "lon": lon}, st.floats(-90, 90), st.floats(-180, 180)),
        "interests": st.none() | st.lists(st.sampled_from(["sea", "books", "Ⅻ", "\U0001f30a", '"{}\\,', "NULL"]), max_size=3),
        "video_features": st.none() | st.lists(st.integers(-5, 5).map(lambda number: number / 4), max_size=3),
    },
)
BAD_FIELDS = st.sampled_from(
    [{"vector": None}, {"vector": ones(0)}, {"vector": [1]}, {"location": {"lat": 91, "lon": 0}}, {"interests": [""]}, {"other": 1}]
)
ROWS = st.lists(
    st.tuples(st.sampled_from([*USERS, DELETED, UNKNOWN]), GOOD_FIELDS | BAD_FIELDS) | st.sampled_from(["{", "[]", "\0"]), max_size=12
)


def expected_embeddings(rows: list[Any]) -> tuple[dict[UUID, dict[str, Any]], int]:
    """Return the expected embeddings by user, and the number of bad rows, by a simple reference implementation."""
    expected: dict[UUID, dict[str, Any]] = {}
    bad = 0
    for content in rows:
        if (
            isinstance(content, str)
            or content[0] not in USERS
            or content[0] in expected
            or not is_good(content[1])
            or "vector" not in content[1]
        ):
            bad += 1
            continue
        user_id, fields = content
        expected[user_id] = {
            "vector": fields["vector"],
            "location": fields.get("location"),
            "interests": list(dict.fromkeys(fields.get("interests") or [])),  # without duplicates
            "video_features": fields.get("video_features"),
        }
    return expected, bad


def is_good(fields: dict[str, Any]) -> bool:
    return not any(
        fields == bad
        for bad in (
            {"vector": None},
            {"vector": ones(0)},
            {"vector": [1]},
            {"location": {"lat": 91, "lon": 0}},
            {"interests": [""]},
            {"other": 1},
        )
    )


@pytest.mark.no_cover
@settings(max_examples=examples(40))
@given(rows=ROWS.filter(bool), cut=st.integers(1, 11), batch=st.integers(1, 5))
def test_load__any_rows__equals_the_reference_implementation(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker, rows: list[Any], cut: int, batch: int
) -> None:
    folder = tmp_path_factory.mktemp("mixture")
    User.objects.all().delete()
    ErasedUser.objects.all().delete()
    for user_id in USERS:
        UserFactory.create(id=user_id)
    UserFactory.create(id=DELETED, deleted=True)
    lines = [content if isinstance(content, str) else row(content[0], **content[1]) for content in rows]
    files = [json_lines(folder / f"{number}.jsonl", part) for number, part in enumerate((lines[:cut], lines[cut:])) if part]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "ROWS_IN_A_BATCH", batch)
        loaded = upsert_embeddings(files, rejects=folder / "rejects")
    expected, bad = expected_embeddings(rows)
    assert (loaded.read, loaded.loaded, loaded.rejected) == (len(rows), len(expected), bad)
    names = ("vector", "location", "interests", "video_features")
    assert {embedding.pk: {name: getattr(embedding, name) for name in names} for embedding in ProfileEmbedding.objects.all()} == expected
    positions = [(line["file"], line["line"]) for line in map(json.loads, (folder / "rejects").read_text().splitlines())]
    assert positions == sorted(set(positions)) and len(positions) == bad
