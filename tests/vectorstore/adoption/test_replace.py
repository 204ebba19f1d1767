"""A real collection that has the alias's name is replaced by an alias. The old one is not changed before the new one and the copy are complete."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from findme.core.errors import UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.support.collections import version
from tests.support.commands import outcome
from tests.vectorstore.adoption.guide import OTHER_VECTOR, VECTORS, create_guide_collection, fill, guide_collection_of, point
from tests.vectorstore.adoption.test_adopt import kill_adoption
from tests.vectorstore.retention.unique_points import point_ids
from vectorstore.adoption import replace
from vectorstore.adoption.adopt import Options, adopt
from vectorstore.catalog import registry
from vectorstore.catalog.alias import point_alias
from vectorstore.catalog.saved_settings import saved_settings
from vectorstore.models import ProfileEmbedding, QueueEntry, StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.backfill import BackfillResult, backfill
from vectorstore.schema.initialize import compare, initialize
from vectorstore.snapshots.nodes import every_node
from vectorstore.snapshots.repository import snapshots_of
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _short_delays(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SYNC_RECHECK_SECONDS = 0.1
    monkeypatch.setattr("vectorstore.verification.merge_join.WAIT_SECONDS", 0)


def rows() -> dict[str, str]:
    """Return the state of each registered collection by the end of its name."""
    return {name.removeprefix(collection_name()): state for name, state in VectorCollection.objects.values_list("name", "state")}


def collections() -> set[str]:
    with qdrant() as client:
        names = [found.name for found in client.get_collections().collections]
    return {name.removeprefix(collection_name()) for name in names if name.startswith(collection_name())}


def assert_replaced(users: list[Any], new: str = "_v1", *, copied: bool) -> None:
    """Assert that the alias points to a collection with the users' points, that both stores agree, and that nothing is left over."""
    assert sync_once(timeout=60).remaining.length == 0
    assert point_ids() == set(map(str, users))
    assert compare().differences == []
    copies = {"_before_adoption": "retained"} if copied else {}
    assert rows() == {new: "live"} | copies
    assert collections() == {new, *copies}
    verified = verify()
    assert verified.clean, verified
    assert (saved_settings(), StoreState.current().downloads) == ({}, [])


def test_adopt__real_collection_under_the_alias_name__is_replaced(every_store: str) -> None:
    users = guide_collection_of(3)
    late = ProfileEmbeddingFactory.create().pk
    orphan = uuid4()
    fill([point(orphan, version=10**12)])
    begun = time.monotonic()
    result = adopt()
    seconds = time.monotonic() - begun
    assert (result.survey.points, result.survey.orphans, result.removed) == (4, 1, 1)
    assert result.replaced is not None
    assert (result.replaced.collection, result.replaced.users, result.replaced.points) == (version(1), 4, 4)
    assert 0 < result.replaced.gap_seconds < seconds
    assert_replaced([*users, late], copied=every_store != "embedded")


def test_adopt__many_orphans__keeps_the_real_collection(store: str) -> None:
    create_guide_collection([point(number) for number in range(1, 102)])
    with pytest.raises(UserFacingError, match="101 of 101 points have no user"):
        adopt()
    assert collections() == {""}
    assert len(point_ids()) == 101
    adopt(Options(force=True))
    assert_replaced([], copied=store != "embedded")


def test_adopt__new_collection_is_incomplete__keeps_the_real_one(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    users = guide_collection_of(2)
    monkeypatch.setattr("vectorstore.rebuild.build.backfill", lambda *_args, **_options: BackfillResult(0, 0))
    QueueEntry.objects.all().delete()
    with pytest.raises(UserFacingError, match=f"'{version(1)}' is not accepted: 2 missing"):
        adopt()
    assert point_ids(collection_name()) == set(map(str, users))
    assert registry.live() is None
    fill([point(users[0])])  # the fence is lifted
    monkeypatch.undo()
    adopt()
    assert_replaced(users, copied=store != "embedded")


def test_adopt__vector_written_past_the_fence__stops(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded store has no fence, and an operator can lift that of a server. So all vectors are compared again before the deletion."""
    users = guide_collection_of(2)

    def meanwhile(*arguments: Any, **options: Any) -> BackfillResult:
        if store == "server":
            with qdrant() as client:
                client.update_collection(collection_name(), strict_mode_config=models.StrictModeConfig(enabled=False))
        fill([point(users[1], vector=OTHER_VECTOR)])
        return backfill(*arguments, **options)

    monkeypatch.setattr("vectorstore.rebuild.build.backfill", meanwhile)
    code, line = outcome("init_qdrant", "--adopt")
    assert code == 2
    assert line.startswith(
        f"Of 2 vectors in {collection_name()!r}, 1 differs from PostgreSQL's: {collection_name()!r} was not changed. Another program wrote to it"
    )
    assert point_ids(collection_name()) == set(map(str, users))
    assert "_before_adoption" not in collections()
    assert registry.live() is None


def test_adopt__newer_vectors_are_stored_meanwhile__continues(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    users = guide_collection_of(2)

    def meanwhile(*arguments: Any, **options: Any) -> BackfillResult:
        ProfileEmbedding.objects.filter(pk=users[1]).update(vector=OTHER_VECTOR)
        return backfill(*arguments, **options)

    monkeypatch.setattr("vectorstore.rebuild.build.backfill", meanwhile)
    assert outcome("init_qdrant", "--adopt") == (0, "")
    assert_replaced(users, copied=store != "embedded")


def test_adopt__embedded_store_with_retain__is_refused(embedded_qdrant: object, capsys: pytest.CaptureFixture[str]) -> None:
    users = guide_collection_of(1)
    code, line = outcome("init_qdrant", "--adopt", "--retain", "7d")
    assert code == 2
    assert line.startswith("The embedded store has no snapshots, so no copy can be retained: nothing was changed. Copy the folder")
    assert outcome("init_qdrant", "--adopt", "--plan") == (0, "")
    assert "No copy would be retained, because the embedded store has no snapshots." in capsys.readouterr().out
    assert outcome("init_qdrant", "--adopt", "--retain", "0d") == (0, "")
    assert_replaced(users, copied=False)


@pytest.mark.qdrant_server
def test_adopt__service_creates_the_collection_in_the_gap__keeps_the_copy(qdrant_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's program creates its collection when it starts. The copy is then all that is left of the old one."""
    users = guide_collection_of(2)

    def create_first(client: QdrantClient, target: str) -> str | None:
        client.create_collection(collection_name(), vectors_config=VECTORS)
        return point_alias(client, target)

    with monkeypatch.context() as patched:
        patched.setattr(replace, "point_alias", create_first)
        code, line = outcome("init_qdrant", "--adopt")
    assert (code, "Searches may fail now. Run manage.py init_qdrant --adopt, which sets the alias." in line) == (2, True)
    assert rows() == {"_v1": "ready", "_before_adoption": "retained"}
    assert point_ids(registry.copy_name()) == set(map(str, users))
    assert outcome("init_qdrant", "--adopt") == (0, "")
    assert point_ids() == set(map(str, users))


REPLACEMENT = [
    "change_settings",
    "_require_refusal",
    "backfill",
    "upsert",
    "accept",
    "make",
    "download",
    "recover_shards",
    "compare_collections",
    "_clean",
    "retain_copy",
    "changes",
    "prepare",
    "delete_snapshots",
    "delete_collection",
    "point_alias",
    "forget_settings",
    "reconcile",
]


@pytest.mark.qdrant_server
@pytest.mark.at_length(every=3)
@pytest.mark.parametrize("at", REPLACEMENT)
def test_adopt__replacement_killed_at_any_step__is_resumed(qdrant_server: object, at: str) -> None:
    """Until it is deleted, the old collection stays complete.

    After that, a plain init_qdrant can set the alias too.
    """
    users = guide_collection_of(2)
    fill([point(uuid4())])
    with qdrant() as client:
        client.create_collection(version(1), vectors_config=VECTORS)  # this name is taken, so the new collection gets another one
    kill_adoption(at)
    if at in {"point_alias", "forget_settings", "reconcile"}:
        initialize()
    else:
        with qdrant() as client:
            assert client.count(collection_name()).count == 3
        adopt()
    with qdrant() as client:
        client.delete_collection(version(1))
    assert outcome("init_qdrant") == (0, "")
    assert_replaced(users, "_v2", copied=True)
    with qdrant() as client:
        (node,) = every_node(client, ())
    assert [snapshots_of(node, f"{collection_name()}{end}") for end in collections()] == [[]] * len(collections())


@pytest.mark.qdrant_server
def test_adopt__plan__shows_all_and_changes_nothing(qdrant_server: object, capsys: pytest.CaptureFixture[str]) -> None:
    users = guide_collection_of(2)
    with qdrant() as client:
        made = client.create_snapshot(collection_name(), wait=True)
        before = client.get_collection(collection_name()).config
        assert made is not None
    time.sleep(1)  # Qdrant names snapshots by the second
    assert outcome("init_qdrant", "--adopt", "--plan", "--retain", "3d", "--temporary-folder", "/var/tmp") == (0, "")
    printed = capsys.readouterr().out.splitlines()
    assert printed[-5:-1] == [
        "Of 2 points, 0 have no user in PostgreSQL and would be removed.",
        "PostgreSQL has all 2 vectors of users.",
        f"{collection_name()} would refuse upserts until it is replaced. Searches would continue.",
        f"{registry.copy_name()} would be retained for 3 days. Its snapshot would be in '/var/tmp' while it is made.",
    ]
    assert printed[-1].startswith(f"The snapshot {made.name} of ")
    assert printed[-1].endswith(" UTC would be deleted, because Qdrant lists none of a deleted collection.")
    assert outcome("init_qdrant", "--adopt", "--plan", "--json") == (0, "")
    reported = json.loads(capsys.readouterr().out)["adopted"]
    assert (reported["copy"], reported["snapshots"]) == (registry.copy_name(), [made.name])
    with qdrant() as client:
        assert client.get_collection(collection_name()).config == before
    assert (rows(), collections(), saved_settings()) == ({}, {""}, {})
    result = adopt()
    assert result.replaced is not None
    assert result.replaced.snapshots == (made.name,)
    assert_replaced(users, copied=True)
