import json
import re
import signal
import threading
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from pytest_django import Settings
from qdrant_client import models

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.privacy.audit import audited
from tests.qdrant import QdrantServer
from tests.support.collections import version
from tests.support.commands import outcome, run_python
from tests.support.threads import in_thread
from tests.vectorstore.adoption.guide import VECTORS, create_guide_collection, fill, point
from tests.vectorstore.storm.agreement import disagreements
from vectorstore.adoption.adopt import Adopted, Options, adopt
from vectorstore.catalog import registry
from vectorstore.catalog.alias import live_collection, point_alias
from vectorstore.catalog.ownership import ADOPTING, DATABASE, check_owner
from vectorstore.consistency.versions import last_allocated, version_of
from vectorstore.models import ProfileEmbedding, QueueEntry, StoreState, SyncLease, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import compare, initialize
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)

OTHER_DATABASE = "5f0c1f0e-0000-4000-8000-000000000000"
FAR = 10**12
"""A version above all that this database has allocated."""


def create_foreign_collection(points: list[models.PointStruct], owner: str | None = OTHER_DATABASE) -> None:
    """Create the collection as init_qdrant of the other database does."""
    initialize()
    with qdrant() as client:
        client.update_collection(version(1), metadata={DATABASE: owner})
    VectorCollection.objects.all().delete()
    QueueEntry.objects.all().delete()
    fill(points, version(1))


def versions(collection: str) -> dict[str, int | None]:
    with qdrant() as client:
        records = client.scroll(collection, limit=1000, with_payload=True)[0]
    return {str(record.id): version_of(record.payload) for record in records}


def projectable_users() -> set[str]:
    return {str(user_id) for user_id in ProfileEmbedding.objects.projectable().values_list("pk", flat=True)}


def adopted(**options: Any) -> Adopted:
    return adopt(Options(**options))


@pytest.fixture(autouse=True)
def short_recheck_delay(settings: Settings) -> None:
    settings.SYNC_RECHECK_SECONDS = 0.1


def kill_adoption(at: str, nth: int = 0) -> None:
    """Run the adoption in a process that is killed at this step. Its leases expire."""
    code, _, stderr = run_python(KILLED_ADOPTION, at, nth)
    assert code == -signal.SIGKILL, stderr
    SyncLease.objects.update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))


def assert_adopted(collection: str, above: int = 0) -> None:
    """Assert that the collection is ours and as defined.

    The points of all users must be written again, and no other points may exist.
    """
    assert compare().differences == []
    with qdrant() as client:
        check_owner(client, collection)
        assert live_collection(client) == collection
    registered = VectorCollection.objects.exclude(name=registry.copy_name())
    assert [(row.name, row.state) for row in registered] == [(collection, "live")]
    result = sync_once(timeout=20)
    assert (result.remaining.length, result.unavailable) == (0, None)
    point_versions = versions(collection)
    assert point_versions.keys() == projectable_users()
    assert all(version is not None and above < version <= last_allocated() for version in point_versions.values())


@pytest.mark.parametrize("owner", [OTHER_DATABASE, None])
def test_adopt__collection_of_another_database__is_adopted(every_store: str, owner: str | None) -> None:
    known = [ProfileEmbeddingFactory.create().pk for _ in range(3)]
    orphan = uuid4()
    create_foreign_collection([*(point(user_id, version=FAR) for user_id in known[:2]), point(orphan, version=FAR + 7)], owner)
    result = adopted()
    assert (result.survey.points, result.survey.orphans, result.survey.highest, result.removed, result.status) == (
        3,
        1,
        FAR + 7,
        1,
        "green",
    )
    assert versions(version(1)) == dict.fromkeys(map(str, known[:2]), FAR)
    assert last_allocated() > FAR + 7
    assert set(QueueEntry.objects.exclude(user_id=None).values_list("user_id", flat=True)) >= set(known)
    assert_adopted(version(1), above=FAR)
    assert [entry[2:] for entry in audited()] == [(version(1), "started"), (version(1), "done")]


UNUSABLE_VERSIONS = (None, "new", -3, 1.5, True, 2**53, 2**60, 1e300, [5])


def test_adopt__unusable_versions__points_are_written_again(store: str) -> None:
    """Qdrant would silently skip all writes of these points, or could not compare the versions."""
    create_foreign_collection(
        [point(ProfileEmbeddingFactory.create().pk, version=version, gender="foreign") for version in UNUSABLE_VERSIONS]
    )
    adopted()
    assert last_allocated() < 2**53
    assert_adopted(version(1))
    with qdrant() as client:
        records = client.scroll(version(1), limit=100)[0]
    assert "foreign" not in {record.payload["gender"] for record in records if record.payload}


def test_adopt__collection_registered_as_live__is_adopted(store: str) -> None:
    """This happens after PostgreSQL was replaced.

    The row exists, but does not show which database wrote the points.
    """
    user_id = ProfileEmbeddingFactory.create().pk
    initialize()
    QueueEntry.objects.all().delete()
    fill([point(user_id, version=FAR), point(uuid4(), version=FAR)], version(1))
    StoreState.objects.update(database_id=OTHER_DATABASE)
    adopted()
    assert_adopted(version(1), above=FAR)


def test_adopt__points_with_numbers_as_ids__are_removed(store: str) -> None:
    create_foreign_collection([point(1), point(2, version=5)])
    assert adopted().removed == 2
    assert_adopted(version(1))


def test_adopt__replaces_the_checkpoint_of_the_other_database(store: str) -> None:
    create_foreign_collection([point(ProfileEmbeddingFactory.create().pk, version=3)])
    with qdrant() as client:
        client.update_collection(
            version(1), metadata={"findme_checkpoint": {"id": "theirs", "version": FAR, "at": "2026-01-01T00:00:00Z"}, "theirs": 1}
        )
    adopted()
    with qdrant() as client:
        metadata = client.get_collection(version(1)).config.metadata
    assert metadata is not None
    assert (metadata["findme_checkpoint"]["id"], metadata["theirs"]) == (StoreState.current().checkpoint["id"], 1)
    assert_adopted(version(1))


def test_adopt__own_collection__is_only_initialized(store: str) -> None:
    user_id = ProfileEmbeddingFactory.create().pk
    initialize()
    sync_once(timeout=20)
    fill([point(uuid4(), version=FAR)], version(1))
    assert adopted().removed == 0
    assert len(versions(version(1))) == 2
    assert not QueueEntry.objects.exists()
    assert str(user_id) in versions(version(1))


def whole_state() -> list[Any]:
    with qdrant() as client:
        configs = [client.get_collection(name).config for name in (version(1), collection_name()) if client.collection_exists(name)]
    return [
        configs,
        versions(collection_name()),
        list(VectorCollection.objects.values()),
        list(QueueEntry.objects.values()),
        last_allocated(),
    ]


def test_adopt__many_orphans__fails_and_changes_nothing(store: str) -> None:
    create_foreign_collection([point(number) for number in range(1, 102)])
    before = whole_state()
    for max_changes, limit in ((None, 100), (7, 7)):
        with pytest.raises(UserFacingError) as raised:
            adopted(max_changes=max_changes)
        assert str(raised.value) == (
            f"101 of 101 points have no user in PostgreSQL and the limit is {limit}: nothing was changed. Check that"
            " DATABASE_URL and QDRANT_URL belong together, then rerun with --max-changes 101 or --force."
        )
    assert whole_state() == before and audited() == []
    assert adopted(max_changes=101).removed == 101


@pytest.mark.parametrize("origin", ["no collection", "the guide's program"])
def test_adopt__a_node_is_missing__does_not_begin(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    """On a cluster with a missing node no plan is reported, no point is read and no row is written."""
    if origin != "no collection":
        create_guide_collection([point(1)])

    def miss_a_node(_client: object) -> None:
        raise StoreUnavailable("A node does not answer.")

    monkeypatch.setattr("vectorstore.adoption.adopt.require_all_nodes", miss_a_node)
    monkeypatch.setattr("vectorstore.adoption.imported.pages_at", pytest.fail)
    with pytest.raises(StoreUnavailable, match="A node does not answer"):
        adopt(on_plan=lambda _: pytest.fail("a plan was reported"))
    assert not VectorCollection.objects.exists()


def test_adopt__many_orphans_with_force__removes_them(store: str) -> None:
    create_foreign_collection([point(number) for number in range(1, 102)])
    assert adopted(force=True).removed == 101


def test_init_qdrant__adopt__prints_the_plan_and_the_result(embedded_qdrant: object, capsys: pytest.CaptureFixture[str]) -> None:
    known, orphan = ProfileEmbeddingFactory.create().pk, uuid4()
    create_foreign_collection([point(known, version=FAR), point(orphan)])
    before = whole_state()
    call_command("init_qdrant", "--adopt", "--dry-run")
    plan = capsys.readouterr().out
    assert plan.startswith(f"{collection_name()} ({version(1)}): 2 would be changed.")
    assert f"\n  metadata.findme_database: {OTHER_DATABASE}, expected {StoreState.current().database_id} (adoption)\n" in plan
    assert plan.endswith("\nOf 2 points, 1 has no user in PostgreSQL and would be removed.\n")
    assert whole_state() == before
    call_command("init_qdrant", "--adopt")
    assert capsys.readouterr().out.endswith(
        f"{version(1)} belongs to this database now: 1 point without a user was removed, and all users are queued for manage.py sync_qdrant.\nDone. The result was read back and compared.\n"
    )
    call_command("init_qdrant", "--adopt", "--json")
    reported = json.loads(capsys.readouterr().out)
    assert (reported["changed"], reported["adopted"]) == (
        False,
        {
            "points": 0,
            "orphans": 0,
            "removed": 0,
            "replaced": None,
            "remaining": None,
            "different": 0,
            "unusable": 0,
            "examples": {},
            "copy": None,
            "snapshots": [],
        },
    )


OTHER_SETTINGS: dict[str, dict[str, Any]] = {
    "vectors of four numbers": {"vectors_config": models.VectorParams(size=4, distance=models.Distance.COSINE)},
    "two shards": {"vectors_config": VECTORS, "shard_number": 2},
}


def create_with_other_settings(settings_name: str, *, aliased: bool) -> None:
    with qdrant() as client:
        client.create_collection(version(1), **OTHER_SETTINGS[settings_name])
        if aliased:
            point_alias(client, version(1))


def commands_to_type() -> list[str]:
    """Return the commands that an operator types until the rebuild succeeds.

    Each error names the next command.
    """
    commands: list[str] = []
    command = ["init_qdrant"]
    while len(commands) < 6:
        commands.append(" ".join(command))
        code, line = outcome(*command)
        if code == 0 and command[0] == "reindex_qdrant":
            return commands
        next_commands = re.findall(r"manage\.py ((?:init|reindex)_qdrant(?: --adopt)?)", line)
        command = next_commands[-1].split() if next_commands else ["reindex_qdrant"]
    pytest.fail(f"The commands do not come to an end: {commands}")


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("aliased", [True, False])
@pytest.mark.parametrize(
    ("settings_name", "store"),
    [
        ("vectors of four numbers", "embedded"),
        pytest.param("vectors of four numbers", "server", marks=pytest.mark.qdrant_server),
        pytest.param("two shards", "server", marks=pytest.mark.qdrant_server),
    ],
    indirect=["store"],
)
@pytest.mark.parametrize("points", [0, 1])
def test_init_qdrant__unregistered_collection_with_other_settings__errors_lead_to_a_rebuild(
    store: str, settings_name: str, points: int, *, aliased: bool
) -> None:
    """A collection with points is adopted first.

    A rebuild then replaces the settings that cannot be changed in place.
    """
    known = ProfileEmbeddingFactory.create().pk
    create_with_other_settings(settings_name, aliased=aliased)
    if points:
        with qdrant() as client:
            client.upsert(version(1), [models.PointStruct(id=1, vector=[1.0] * (4 if "four" in settings_name else 512))])
    assert commands_to_type() == ["init_qdrant", *(["init_qdrant --adopt"] if points else []), "reindex_qdrant"]
    assert compare().differences == []
    sync_once(timeout=20)
    assert versions(collection_name()).keys() == {str(known)}
    assert [row.name for row in VectorCollection.objects.all()] == [f"{collection_name()}_v2"]
    with qdrant() as client:
        assert not client.collection_exists(version(1))


def test_init_qdrant__adopt__reports_what_needs_a_new_collection(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    create_with_other_settings("vectors of four numbers", aliased=False)
    with qdrant() as client:
        client.upsert(version(1), [models.PointStruct(id=1, vector=[1.0] * 4)])
    message = f"In {version(1)!r}, params.vectors.size: 4, expected 512 (new collection) and was not changed. Build a new collection with manage.py reindex_qdrant.\n"
    assert outcome("init_qdrant", "--adopt", "--plan") == (0, "")
    assert capsys.readouterr().out.endswith(message)
    assert outcome("init_qdrant", "--adopt") == (1, "")
    assert capsys.readouterr().out.endswith(message)
    assert outcome("init_qdrant", "--adopt") == (2, message.replace(" and was not changed.", ": nothing was changed.").strip())


KILLED_ADOPTION = """
import sys
from qdrant_client import QdrantClient
from tests.support.killing import kill_at_call
from vectorstore.catalog import registry
from vectorstore.adoption import copy, fence, in_place
from vectorstore.snapshots import temporary
from vectorstore.adoption import replace as replacement
from vectorstore.adoption.adopt import Options, adopt
from vectorstore.rebuild import build as building
from vectorstore.qdrant import write as conditional_write

at, nth = sys.argv[1], int(sys.argv[2])

owners = {
    "update_collection": QdrantClient, "raise_above": in_place, "register": registry, "register_as_live": in_place,
    "reset_checkpoint": in_place.checkpoint, "sync_users": in_place, "upsert": conditional_write, "backfill": building, "accept": replacement,
    "prepare": registry, "delete_collection": QdrantClient, "point_alias": replacement, "reconcile": registry,
    "change_settings": fence, "_require_refusal": fence, "make": temporary, "download": copy, "recover_shards": copy, "compare_collections": copy,
    "_clean": copy, "retain_copy": registry, "changes": replacement.Vectors, "delete_snapshots": replacement, "forget_settings": replacement,
}
kill_at_call([(owners[at], at)], nth)
adopt()
"""

ADOPTION_STEPS = [
    ("update_collection", 0),
    ("raise_above", 0),
    ("register_as_live", 0),
    ("register", 0),
    ("update_collection", 1),
    ("reset_checkpoint", 0),
    ("sync_users", 0),
]


@pytest.mark.qdrant_server
@pytest.mark.parametrize(("at", "nth"), ADOPTION_STEPS)
def test_adopt__killed_at_any_step__is_resumed(qdrant_server: object, at: str, nth: int) -> None:
    known = [ProfileEmbeddingFactory.create().pk for _ in range(2)]
    create_foreign_collection([point(known[0], version=FAR), point(uuid4(), version=FAR + 1)])
    kill_adoption(at, nth)
    with qdrant() as client:
        unfinished = client.get_collection(version(1)).config.metadata or {}
    if unfinished.get(DATABASE) == OTHER_DATABASE or unfinished.get(ADOPTING):
        with pytest.raises(UserFacingError, match="--adopt"):
            initialize()
    adopted()
    assert last_allocated() > FAR + 1
    assert_adopted(version(1), above=FAR)


@pytest.mark.at_length("register", "sync_users", "reset_checkpoint", "register_as_live", "update_collection")
@pytest.mark.parametrize(("at", "nth"), ADOPTION_STEPS)
def test_adopt__killed_at_any_step__housekeeping_keeps_the_collection(embedded_qdrant: object, at: str, nth: int) -> None:
    """This also holds for a collection without an alias: a user may need its points."""
    create_foreign_collection([point(ProfileEmbeddingFactory.create().pk, version=FAR), point(uuid4(), version=FAR + 1)])
    with qdrant() as client:
        delete = models.DeleteAlias(alias_name=collection_name())
        client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=delete)])
    kill_adoption(at, nth)
    assert registry.expired() == []
    adopted()
    assert_adopted(version(1), above=FAR)


@pytest.mark.at_length("embedded-sync_users", "embedded-reset_checkpoint")
@pytest.mark.parametrize("at", ["reset_checkpoint", "sync_users"])
def test_adopt__killed_after_the_claim__plain_init_finishes_it(store: str, at: str) -> None:
    known = ProfileEmbeddingFactory.create().pk
    create_foreign_collection([point(known, version=FAR), point(uuid4(), version=FAR + 1)])
    kill_adoption(at)
    initialize()
    assert_adopted(version(1), above=FAR)


@pytest.mark.parametrize("step", ["raise_above", "checkpoint.reset_checkpoint"])
def test_adopt__failure__is_recorded(store: str, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """It is recorded as unknown.

    The metadata already say that the collection is being adopted, or was adopted.
    """

    def fail(_argument: object) -> None:
        raise StoreUnavailable("The store does not answer.")

    create_foreign_collection([point(uuid4(), version=FAR)])
    monkeypatch.setattr(f"vectorstore.adoption.in_place.{step}", fail)
    with pytest.raises(StoreUnavailable):
        adopted()
    assert [entry[3] for entry in audited()] == ["started", "unknown"]


@pytest.mark.qdrant_server
@pytest.mark.parametrize("origin", ["another database", "the guide's program"])
def test_adopt__concurrent_writers_and_a_worker__stores_agree(qdrant_server: QdrantServer, origin: str) -> None:
    """Users are added, changed and deleted while a worker runs. Then both stores agree."""
    random = Random(8)
    known = [embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(40)]
    points = [*(point(user_id, version=FAR) for user_id in known), point(uuid4(), version=FAR)]
    create_foreign_collection(points) if origin == "another database" else create_guide_collection(points)
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
        result = adopted()
    finally:
        over.set()
        for thread in threads:
            thread.result()
    assert result.status == "green"
    assert sync_once(timeout=60).remaining.length == 0
    assert disagreements(qdrant_server, version(1)) == []
    assert_adopted(version(1), above=FAR if origin == "another database" else 0)
    if origin != "another database":
        assert versions(registry.copy_name()).keys() <= projectable_users()
