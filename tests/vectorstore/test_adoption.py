import json
import re
import signal
import threading
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings
from qdrant_client import models

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.privacy.audit import audited
from tests.qdrant import QdrantServer
from tests.support.commands import run_python
from tests.support.threads import in_thread
from tests.vectorstore.storm.agreement import disagreements
from vectorstore.catalog import registry
from vectorstore.catalog.alias import live_collection
from vectorstore.catalog.ownership import ADOPTING, DATABASE, check_owner
from vectorstore.consistency.versions import last_allocated, version_of
from vectorstore.models import ProfileEmbedding, QueueEntry, StoreState, SyncLease, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.adopt import Adopted, adopt
from vectorstore.schema.apply import point_alias
from vectorstore.schema.initialize import compare, initialize
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)

ANOTHER = "5f0c1f0e-0000-4000-8000-000000000000"
VECTORS = models.VectorParams(size=512, distance=models.Distance.COSINE)
FAR = 10**12
"""A version above all that this database has allocated."""


def v1() -> str:
    return f"{collection_name()}_v1"


def point(point_id: UUID | int, **payload: Any) -> models.PointStruct:
    return models.PointStruct(id=point_id if isinstance(point_id, int) else str(point_id), vector=[0.5] * 512, payload=payload)


def fill(collection: str, points: list[models.PointStruct]) -> None:
    with qdrant() as client:
        client.upsert(collection, points, wait=True)


def of_another_database(points: list[models.PointStruct], owner: str | None = ANOTHER) -> None:
    """As that one's own init_qdrant made it."""
    initialize()
    with qdrant() as client:
        client.update_collection(v1(), metadata={DATABASE: owner})
    VectorCollection.objects.all().delete()
    QueueEntry.objects.all().delete()
    fill(v1(), points)


def versions(collection: str) -> dict[str, int | None]:
    with qdrant() as client:
        records = client.scroll(collection, limit=1000, with_payload=True)[0]
    return {str(record.id): version_of(record.payload) for record in records}


def projectable_users() -> set[str]:
    return {str(user_id) for user_id in ProfileEmbedding.objects.projectable().values_list("pk", flat=True)}


def adopted(**options: Any) -> Adopted:
    return adopt(**options)


@pytest.fixture(autouse=True)
def soon_looked_at_again(settings: Settings) -> None:
    settings.SYNC_RECHECK_SECONDS = 0.1


def killed(at: str, nth: int = 0) -> None:
    """A process that dies in the adoption; its leases run out."""
    code, _, stderr = run_python(KILLED, at, nth)
    assert code == -signal.SIGKILL, stderr
    SyncLease.objects.update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))


def prove_adopted(collection: str, above: int = 0) -> None:
    """The collection is ours and as defined, the points of all users are written again, and there are no others."""
    assert compare().differences == []
    with qdrant() as client:
        check_owner(client, collection)
        assert live_collection(client) == collection
    assert [(row.name, row.state) for row in VectorCollection.objects.all()] == [(collection, "live")]
    done = sync_once(timeout=20)
    assert (done.remaining.length, done.unavailable) == (0, None)
    found = versions(collection)
    assert found.keys() == projectable_users()
    assert all(version is not None and above < version <= last_allocated() for version in found.values())


@pytest.mark.parametrize("owner", [ANOTHER, None])
def test_adopt__of_another_database(every_store: str, owner: str | None) -> None:
    known = [ProfileEmbeddingFactory.create().pk for _ in range(3)]
    orphan = uuid4()
    of_another_database([*(point(person, version=FAR) for person in known[:2]), point(orphan, version=FAR + 7)], owner)
    done = adopted()
    assert (done.survey.points, done.survey.orphans, done.survey.highest, done.removed, done.status) == (3, 1, FAR + 7, 1, "green")
    assert versions(v1()) == dict.fromkeys(map(str, known[:2]), FAR)
    assert last_allocated() > FAR + 7
    assert set(QueueEntry.objects.exclude(user_id=None).values_list("user_id", flat=True)) >= set(known)
    prove_adopted(v1(), above=FAR)
    assert [entry[2:] for entry in audited()] == [(v1(), "started"), (v1(), "done")]


ODD = (None, "new", -3, 1.5, True, 2**53, 2**60, 1e300, [5])


def test_adopt__versions_that_nobody_can_be_above(store: str) -> None:
    """They would be refused silently for ever, or not be compared at all."""
    of_another_database([point(ProfileEmbeddingFactory.create().pk, version=version, gender="nobody's") for version in ODD])
    adopted()
    assert last_allocated() < 2**53
    prove_adopted(v1())
    with qdrant() as client:
        records = client.scroll(v1(), limit=100)[0]
    assert "nobody's" not in {record.payload["gender"] for record in records if record.payload}


def test_adopt__of_a_collection_that_this_database_believes_to_be_live(store: str) -> None:
    """As after PostgreSQL was replaced: the row is there, and says nothing of who wrote the points."""
    person = ProfileEmbeddingFactory.create().pk
    initialize()
    QueueEntry.objects.all().delete()
    fill(v1(), [point(person, version=FAR), point(uuid4(), version=FAR)])
    StoreState.objects.update(database_id=ANOTHER)
    adopted()
    prove_adopted(v1(), above=FAR)


def test_adopt__a_number_is_nobodys_id(store: str) -> None:
    of_another_database([point(1), point(2, version=5)])
    assert adopted().removed == 2
    prove_adopted(v1())


def test_adopt__forgets_the_other_ones_checkpoint(store: str) -> None:
    of_another_database([point(ProfileEmbeddingFactory.create().pk, version=3)])
    with qdrant() as client:
        client.update_collection(
            v1(), metadata={"findme_checkpoint": {"id": "theirs", "version": FAR, "at": "2026-01-01T00:00:00Z"}, "theirs": 1}
        )
    adopted()
    with qdrant() as client:
        metadata = client.get_collection(v1()).config.metadata
    assert metadata is not None
    assert (metadata["findme_checkpoint"]["id"], metadata["theirs"]) == (StoreState.current().checkpoint["id"], 1)
    prove_adopted(v1())


def test_adopt__what_is_ours_is_only_initialized(store: str) -> None:
    person = ProfileEmbeddingFactory.create().pk
    initialize()
    sync_once(timeout=20)
    fill(v1(), [point(uuid4(), version=FAR)])
    assert adopted().removed == 0
    assert len(versions(v1())) == 2
    assert not QueueEntry.objects.exists()
    assert str(person) in versions(v1())


def state_of_everything() -> list[Any]:
    with qdrant() as client:
        found = [client.get_collection(name).config for name in (v1(), collection_name()) if client.collection_exists(name)]
    return [
        found,
        versions(collection_name()),
        list(VectorCollection.objects.values()),
        list(QueueEntry.objects.values()),
        last_allocated(),
    ]


def test_adopt__refuses_to_remove_many(store: str) -> None:
    of_another_database([point(number) for number in range(1, 102)])
    before = state_of_everything()
    for max_changes, allowed in ((None, 100), (7, 7)):
        with pytest.raises(UserFacingError) as raised:
            adopted(max_changes=max_changes)
        assert str(raised.value) == (
            f"101 of 101 points have no user in PostgreSQL and the limit is {allowed}: nothing was changed. Check that"
            " DATABASE_URL and QDRANT_URL belong together, then rerun with --max-changes 101 or --force."
        )
    assert state_of_everything() == before and audited() == []
    assert adopted(max_changes=101).removed == 101


@pytest.mark.parametrize("of", ["nobody", "the guide's program"])
def test_adopt__where_no_collection_can_be_made_nothing_is_begun(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    """On a cluster without one of its nodes: nothing is announced, looked through or noted."""
    if of != "nobody":
        of_the_guides_program([point(1)])

    def without_a_node(_client: object) -> None:
        raise StoreUnavailable("A node does not answer.")

    monkeypatch.setattr("vectorstore.rebuild.adopt.require_all_nodes", without_a_node)
    monkeypatch.setattr("vectorstore.rebuild.adopt._survey", pytest.fail)
    with pytest.raises(StoreUnavailable, match="A node does not answer"):
        adopt(on_plan=lambda _: pytest.fail("something was announced"))
    assert not VectorCollection.objects.exists()


def test_adopt__removes_many_by_force(store: str) -> None:
    of_another_database([point(number) for number in range(1, 102)])
    assert adopted(force=True).removed == 101


def test_init_qdrant__adopt_in_words(embedded_qdrant: object, capsys: pytest.CaptureFixture[str]) -> None:
    known, orphan = ProfileEmbeddingFactory.create().pk, uuid4()
    of_another_database([point(known, version=FAR), point(orphan)])
    before = state_of_everything()
    call_command("init_qdrant", "--adopt", "--dry-run")
    planned = capsys.readouterr().out
    assert planned.startswith(f"{collection_name()} ({v1()}): 2 would be changed.")
    assert f"\n  metadata.findme_database: {ANOTHER}, expected {StoreState.current().database_id} (adoption)\n" in planned
    assert planned.endswith("\nOf 2 points, 1 has no user in PostgreSQL and would be removed.\n")
    assert state_of_everything() == before
    call_command("init_qdrant", "--adopt")
    assert capsys.readouterr().out.endswith(
        f"{v1()} belongs to this database now: 1 point without a user was removed, and all users are queued for manage.py sync_qdrant.\nDone. The result was read back and compared.\n"
    )
    call_command("init_qdrant", "--adopt", "--json")
    reported = json.loads(capsys.readouterr().out)
    assert (reported["changed"], reported["adopted"]) == (
        False,
        {"points": 0, "orphans": 0, "removed": 0, "replaced": None, "remaining": None},
    )


OTHERWISE: dict[str, dict[str, Any]] = {
    "vectors of four numbers": {"vectors_config": models.VectorParams(size=4, distance=models.Distance.COSINE)},
    "two shards": {"vectors_config": VECTORS, "shard_number": 2},
}


def made_otherwise(how: str, *, aliased: bool) -> None:
    with qdrant() as client:
        client.create_collection(v1(), **OTHERWISE[how])
        if aliased:
            point_alias(client, collection_name(), v1())


def outcome(*arguments: str) -> tuple[int, str]:
    """As of a process: the exit code, and the line where there is one."""
    try:
        call_command(*arguments)
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as ended:
        return int(str(ended.code)), ""
    return 0, ""


def walked() -> list[str]:
    """Which commands have to be typed, as each line names the next, until there is nothing to look at."""
    typed: list[str] = []
    command = ["init_qdrant"]
    while len(typed) < 6:
        typed.append(" ".join(command))
        code, line = outcome(*command)
        if code == 0 and command[0] == "reindex_qdrant":
            return typed
        named = re.findall(r"manage\.py ((?:init|reindex)_qdrant(?: --adopt)?)", line)
        command = named[-1].split() if named else ["reindex_qdrant"]
    pytest.fail(f"There is no way out: {typed}")


@pytest.mark.parametrize("aliased", [True, False])
@pytest.mark.parametrize(
    ("how", "store"),
    [
        ("vectors of four numbers", "embedded"),
        pytest.param("vectors of four numbers", "server", marks=pytest.mark.qdrant_server),
        pytest.param("two shards", "server", marks=pytest.mark.qdrant_server),
    ],
    indirect=["store"],
)
@pytest.mark.parametrize("points", [0, 1])
def test_init_qdrant__what_nobody_has_noted_and_takes_a_new_collection_has_a_way_out(
    store: str, how: str, points: int, *, aliased: bool
) -> None:
    """The lines of the commands lead to it: one that has points is adopted first, and what cannot be changed is mended by a rebuild."""
    known = ProfileEmbeddingFactory.create().pk
    made_otherwise(how, aliased=aliased)
    if points:
        with qdrant() as client:
            client.upsert(v1(), [models.PointStruct(id=1, vector=[1.0] * (4 if "four" in how else 512))])
    assert walked() == ["init_qdrant", *(["init_qdrant --adopt"] if points else []), "reindex_qdrant"]
    assert compare().differences == []
    sync_once(timeout=20)
    assert versions(collection_name()).keys() == {str(known)}
    assert [row.name for row in VectorCollection.objects.all()] == [f"{collection_name()}_v2"]
    with qdrant() as client:
        assert not client.collection_exists(v1())


def test_init_qdrant__adopt_says_what_takes_a_new_collection(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    made_otherwise("vectors of four numbers", aliased=False)
    with qdrant() as client:
        client.upsert(v1(), [models.PointStruct(id=1, vector=[1.0] * 4)])
    left = f"In {v1()!r}, params.vectors.size: 4, expected 512 (new collection) and was not changed. Build a new collection with manage.py reindex_qdrant.\n"
    assert outcome("init_qdrant", "--adopt", "--plan") == (0, "")
    assert capsys.readouterr().out.endswith(left)
    assert outcome("init_qdrant", "--adopt") == (1, "")
    assert capsys.readouterr().out.endswith(left)
    assert outcome("init_qdrant", "--adopt") == (2, left.replace(" and was not changed.", ": nothing was changed.").strip())


KILLED = """
import os, signal, sys
from qdrant_client import QdrantClient
from vectorstore.rebuild import adopt as adoption
from vectorstore.schema import apply as applying
from vectorstore.catalog import registry
from vectorstore.rebuild import replace as replacement
from vectorstore.rebuild.adopt import adopt
from vectorstore.qdrant import write as conditional_write

at, nth = sys.argv[1], int(sys.argv[2])

def dying(method):
    calls = 0
    def call(*arguments, **options):
        global nth
        if nth == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        nth -= 1
        return method(*arguments, **options)
    return call

owners = {
    "update_collection": QdrantClient, "raise_above": adoption, "register": registry, "register_as_live": adoption, "reset_checkpoint": adoption.checkpoint,
    "sync_users": adoption, "upsert": conditional_write, "backfill": replacement, "accept": replacement, "prepare": registry,
    "delete_collection": QdrantClient, "point_alias": replacement, "follow": registry,
}
setattr(owners[at], at, dying(getattr(owners[at], at)))
adopt()
"""

TAKEOVER = [
    ("update_collection", 0),
    ("raise_above", 0),
    ("register_as_live", 0),
    ("register", 0),
    ("update_collection", 1),
    ("reset_checkpoint", 0),
    ("sync_users", 0),
]


@pytest.mark.qdrant_server
@pytest.mark.parametrize(("at", "nth"), TAKEOVER)
def test_adopt__killed_anywhere_goes_on(qdrant_server: object, at: str, nth: int) -> None:
    known = [ProfileEmbeddingFactory.create().pk for _ in range(2)]
    of_another_database([point(known[0], version=FAR), point(uuid4(), version=FAR + 1)])
    killed(at, nth)
    with qdrant() as client:
        unfinished = client.get_collection(v1()).config.metadata or {}
    if unfinished.get(DATABASE) == ANOTHER or unfinished.get(ADOPTING):
        with pytest.raises(UserFacingError, match="--adopt"):
            initialize()
    adopted()
    assert last_allocated() > FAR + 1
    prove_adopted(v1(), above=FAR)


@pytest.mark.parametrize(("at", "nth"), TAKEOVER)
def test_adopt__killed_anywhere_is_left_by_whoever_is_idle(embedded_qdrant: object, at: str, nth: int) -> None:
    """Also where no alias leads to it: it has points that somebody may need."""
    of_another_database([point(ProfileEmbeddingFactory.create().pk, version=FAR), point(uuid4(), version=FAR + 1)])
    with qdrant() as client:
        delete = models.DeleteAlias(alias_name=collection_name())
        client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=delete)])
    killed(at, nth)
    assert registry.expired() == []
    adopted()
    prove_adopted(v1(), above=FAR)


@pytest.mark.parametrize("at", ["reset_checkpoint", "sync_users"])
def test_adopt__killed_after_the_claim_is_also_finished_by_a_plain_init(store: str, at: str) -> None:
    known = ProfileEmbeddingFactory.create().pk
    of_another_database([point(known, version=FAR), point(uuid4(), version=FAR + 1)])
    killed(at)
    initialize()
    prove_adopted(v1(), above=FAR)


@pytest.mark.parametrize("step", ["raise_above", "checkpoint.reset_checkpoint"])
def test_adopt__that_fails_is_recorded(store: str, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """As unknown: the collection says already that it is being adopted, or that it was."""

    def fail(_argument: object) -> None:
        raise StoreUnavailable("The store does not answer.")

    of_another_database([point(uuid4(), version=FAR)])
    monkeypatch.setattr(f"vectorstore.rebuild.adopt.{step}", fail)
    with pytest.raises(StoreUnavailable):
        adopted()
    assert [entry[3] for entry in audited()] == ["started", "unknown"]


def of_the_guides_program(points: list[models.PointStruct]) -> None:
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=VECTORS)
    fill(collection_name(), points)


def test_adopt__a_real_collection_that_bears_the_aliass_name(every_store: str) -> None:
    known = [ProfileEmbeddingFactory.create().pk for _ in range(3)]
    of_the_guides_program([point(known[0]), point(uuid4(), version=FAR)])
    done = adopted()
    assert (done.survey.points, done.survey.orphans, done.removed) == (2, 1, 1)
    assert done.replaced is not None
    assert (done.replaced.collection, done.replaced.users, done.replaced.points) == (v1(), 3, 3)
    assert done.replaced.gap_seconds < 5
    assert versions(collection_name()).keys() == projectable_users()
    prove_adopted(v1())


def test_adopt__keeps_the_old_one_where_its_points_are_many_of_nobody(store: str) -> None:
    of_the_guides_program([point(number) for number in range(1, 102)])
    with pytest.raises(UserFacingError, match="101 of 101 points have no user"):
        adopted()
    with qdrant() as client:
        assert client.count(collection_name()).count == 101
        assert not client.collection_exists(v1())
    adopted(force=True)
    prove_adopted(v1())


def test_adopt__keeps_the_old_one_where_the_new_one_is_not_whole(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [ProfileEmbeddingFactory.create().pk for _ in range(2)]
    of_the_guides_program([point(known[0])])
    monkeypatch.setattr("vectorstore.rebuild.replace.backfill", lambda *_args, **_options: None)
    QueueEntry.objects.all().delete()
    with pytest.raises(UserFacingError, match=f"'{v1()}' is not accepted: 2 missing"):
        adopted()
    with qdrant() as client:
        assert collection_name() not in {one.alias_name for one in client.get_aliases().aliases}
        assert client.count(collection_name()).count == 1
    monkeypatch.undo()
    adopted()
    prove_adopted(v1())


REPLACEMENT = ["backfill", "upsert", "accept", "prepare", "delete_collection", "point_alias", "follow"]


@pytest.mark.qdrant_server
@pytest.mark.parametrize("at", REPLACEMENT)
def test_adopt__a_replacement_killed_anywhere_goes_on(qdrant_server: object, at: str) -> None:
    """Before the old one is deleted it is whole; afterwards a plain init_qdrant sets the alias too."""
    known = [ProfileEmbeddingFactory.create().pk for _ in range(2)]
    of_the_guides_program([point(known[0]), point(uuid4())])
    with qdrant() as client:
        client.create_collection(v1(), vectors_config=VECTORS)  # somebody's, so that the new one is another
    killed(at)
    if at in {"point_alias", "follow"}:
        initialize()
    else:
        with qdrant() as client:
            assert client.count(collection_name()).count == 2
        adopted()
    prove_adopted(f"{collection_name()}_v2")


@pytest.mark.qdrant_server
@pytest.mark.parametrize("of", ["another database", "the guide's program"])
def test_adopt__beside_writers_and_a_worker(qdrant_server: QdrantServer, of: str) -> None:
    """People come, change and go all along, and a worker works; then both stores agree."""
    random = Random(8)
    known = [embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(40)]
    points = [*(point(person, version=FAR) for person in known), point(uuid4(), version=FAR)]
    of_another_database(points) if of == "another database" else of_the_guides_program(points)
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            ProfileEmbeddingFactory.create()
            ids = sorted(ProfileEmbedding.objects.values_list("pk", flat=True))
            User.objects.filter(pk=random.choice(ids)).delete()
            ProfileEmbedding.objects.filter(pk=random.choice(ids)).update(interests=[f"interest {random.random()}"])

    def work() -> None:
        while not over.is_set():
            with suppress(UserFacingError):
                sync_once(timeout=1)
            over.wait(0.05)

    threads = [in_thread(write), in_thread(work)]
    try:
        done = adopted()
    finally:
        over.set()
        for thread in threads:
            thread.result()
    assert done.status == "green"
    assert sync_once(timeout=60).remaining.length == 0
    assert disagreements(qdrant_server, v1()) == []
    prove_adopted(v1(), above=FAR if of == "another database" else 0)
