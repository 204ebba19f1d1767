"""The copy of a replaced collection: it is complete, it receives deletions and nothing else, and nothing of the way there is left over."""

from __future__ import annotations

import stat
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.support.collections import version
from tests.support.commands import outcome, run_python
from tests.support.threads import in_thread
from tests.vectorstore.adoption.guide import OTHER_VECTOR, VECTORS, fill, guide_collection_of, point
from tests.vectorstore.adoption.test_adopt import kill_adoption
from tests.vectorstore.adoption.test_replace import assert_replaced, collections
from tests.vectorstore.retention.unique_points import point_ids, users_without_embedding
from tests.vectorstore.snapshots.snapshot_proxy import altering_proxy, half, one_wrong_bit
from vectorstore.adoption import copy, replace
from vectorstore.adoption.adopt import Options, adopt
from vectorstore.adoption.copy import Compared, compare_collections
from vectorstore.adoption.imported import ImportedVector
from vectorstore.catalog import registry
from vectorstore.catalog.alias import point_alias
from vectorstore.catalog.saved_settings import saved_settings
from vectorstore.models import QueueEntry, StoreState, VectorCollection
from vectorstore.purge.purge import purge
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import ServerError
from vectorstore.retention.housekeeping import Housekeeping
from vectorstore.snapshots import temporary
from vectorstore.snapshots.downloads import downloads
from vectorstore.snapshots.nodes import every_node
from vectorstore.snapshots.repository import snapshots_of
from vectorstore.snapshots.upload import recover_shards
from vectorstore.sync.inline import remove_point, sync_users
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]


@pytest.fixture(autouse=True)
def _short_delays(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SYNC_RECHECK_SECONDS = 0.1
    monkeypatch.setattr("vectorstore.verification.merge_join.WAIT_SECONDS", 0)


def points_of(collection: str) -> dict[str, models.Record]:
    with qdrant() as client:
        return {str(record.id): record for record in client.scroll(collection, limit=1000, with_payload=True, with_vectors=True)[0]}


def snapshots() -> list[str]:
    """Return the snapshots of all collections of this test."""
    with qdrant() as client:
        (node,) = every_node(client, ())
        return [one.name for end in collections() for one in snapshots_of(node, f"{collection_name()}{end}")]


def assert_untouched(users: list[UUID], *, noted: Sequence[tuple[list[str], int]] = ()) -> None:
    """Assert that the old collection has all points and accepts writes, and that no copy, snapshot, file or saved setting is left.

    ``noted`` are the names of snapshots that may be on a server, with the number of those that may have been made.
    """
    assert point_ids(collection_name()) >= set(map(str, users))
    fill([point(users[0])])
    assert "_before_adoption" not in collections()
    assert snapshots() == []
    found = [([name for _, name in one["snapshots"]], len(one["intended"])) for one in StoreState.current().downloads]
    assert (saved_settings(), downloads(), found) == ({}, (), list(noted))
    assert registry.copy_name() not in registry.deletion_targets()


def test_adopt__server__retains_a_copy_with_every_point_of_a_user(server: object) -> None:
    users = guide_collection_of(5)
    fill([point(users[0], version=10**12, note="their own field"), point(uuid4())])
    before = points_of(collection_name())
    result = adopt()
    assert result.replaced is not None
    assert result.replaced.copy == registry.copy_name()
    assert result.replaced.retained_until is not None
    assert timedelta(days=6.9) < result.replaced.retained_until - datetime.now(UTC) <= timedelta(days=7)
    assert_replaced(users, copied=True)
    after = points_of(registry.copy_name())
    assert after.keys() == set(map(str, users))
    assert all(found.vector == before[user].vector for user, found in after.items())
    assert after[str(users[0])].payload == {"note": "their own field"}
    assert snapshots() == []


def test_copy__deletions__reach_it_and_no_other_write_does(server: object) -> None:
    """Protocol rule 10. A deleted user must not come back with the copy."""
    users = guide_collection_of(6)
    adopt()
    before = points_of(registry.copy_name())
    User.objects.filter(pk=users[0]).delete()
    User.objects.filter(pk=users[1]).update(deleted_at=datetime.now(UTC))
    User.objects.filter(pk=users[2]).update(verified=False)
    ProfileEmbeddingFactory.create()
    remove_point(users[3])
    sync_once(timeout=60)
    # The row of the fourth user was not deleted, so the live collection has the point again.
    remaining = set(map(str, users[2:])) - {str(users[3])}
    assert points_of(registry.copy_name()) == {user: found for user, found in before.items() if user in remaining}
    assert len(point_ids()) == 5
    assert verify().clean


def test_adopt__payload_changes_after_the_snapshot__is_reported(
    server: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fence does not refuse it, so it must not end the adoption."""
    users = guide_collection_of(3)
    fill([point(7, note="a number")])
    upload = recover_shards

    def meanwhile(client: Any, nodes: Any, name: str, *arguments: Any, **options: Any) -> None:
        upload(client, nodes, name, *arguments, **options)
        client.set_payload(collection_name(), {"note": {"of": ["them"]}}, points=[str(users[1]), 7], wait=True)

    monkeypatch.setattr(copy, "recover_shards", meanwhile)
    assert outcome("init_qdrant", "--adopt") == (0, "")
    assert "Another program changed the payload of 2 points after the snapshot.\n" in capsys.readouterr().out


def test_copy__user_is_deleted_while_it_is_made__is_not_in_it(qdrant_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker finishes the deletion before the copy is registered, and does not know the copy yet."""
    users = guide_collection_of(3)
    compare = copy.compare_collections

    def meanwhile(*arguments: Any) -> Compared:
        User.objects.filter(pk=users[1]).delete()
        in_thread(lambda: sync_users([users[1]])).result()
        assert not QueueEntry.objects.filter(user_id=users[1]).exists()
        return compare(*arguments)

    monkeypatch.setattr(copy, "compare_collections", meanwhile)
    adopt()
    assert_replaced([users[0], users[2]], copied=True)
    assert point_ids(registry.copy_name()) == {str(users[0]), str(users[2])}


def test_verify__deleted_user_in_the_copy__is_an_orphan_and_is_repaired(qdrant_server: object) -> None:
    users = guide_collection_of(2)
    adopt()
    sync_once(timeout=20)
    fill([point(orphan := uuid4())], registry.copy_name())
    found = {one.name: one.kinds for one in verify().collections}
    assert found[registry.copy_name()]["orphaned"] == 1
    assert verify(repairing=True).queued == 1
    sync_once(timeout=20)
    assert point_ids(registry.copy_name()) == set(map(str, users)) - {str(orphan)}


def test_copy__discarded_points_and_numbers__are_not_in_it(qdrant_server: object) -> None:
    """No deletion by a user's id would reach them."""
    users = guide_collection_of(2)
    (unstored,) = users_without_embedding(1)
    fill([point(7, user_id=str(unstored)), point(8), point(unstored, vector=[0.0] * 512)])
    adopt(Options(discard_vectors=2))
    assert point_ids(registry.copy_name()) == set(map(str, users))
    assert_replaced(users, copied=True)


@pytest.mark.parametrize("limit", [{"unindexed_filtering_update": False}, {"write_rate_limit": 1}])
def test_copy__original_has_strict_mode__deletions_reach_it(qdrant_server: object, limit: dict[str, Any]) -> None:
    """Qdrant Cloud forbids filters without an index by default. FindMe deletes from the copy with such a filter."""
    users = guide_collection_of(3)
    with qdrant() as client:
        client.update_collection(collection_name(), strict_mode_config=models.StrictModeConfig(enabled=True, **limit))
    adopt()
    User.objects.filter(pk=users[0]).delete()
    sync_once(timeout=20)
    assert_replaced(users[1:], copied=True)
    assert point_ids(registry.copy_name()) == set(map(str, users[1:]))


def test_copy__retention_is_over__worker_drops_it(qdrant_server: object) -> None:
    users = guide_collection_of(2)
    adopt(Options(retain=timedelta(hours=1)))
    sync_once(timeout=20)
    assert Housekeeping().run() == ()
    VectorCollection.objects.filter(name=registry.copy_name()).update(retain_until=datetime(2026, 1, 1, tzinfo=UTC))
    assert Housekeeping().run() == (registry.copy_name(),)
    assert_replaced(users, copied=False)


@pytest.fixture
def leftovers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the snapshots of the old collection that are left when it is deleted. Qdrant lists them only while a collection has its name."""
    found: list[str] = []

    def list_first(client: QdrantClient, target: str) -> str | None:
        client.create_collection(collection_name(), vectors_config={})
        found.extend(one.name for one in client.list_snapshots(collection_name()))
        client.delete_collection(collection_name())
        return point_alias(client, target)

    monkeypatch.setattr(replace, "point_alias", list_first)
    return found


@pytest.mark.parametrize("retain", ["0d", "7d"])
def test_adopt__snapshots_of_the_old_collection__are_deleted_before_it(qdrant_server: object, leftovers: list[str], retain: str) -> None:
    users = guide_collection_of(2)
    with qdrant() as client:
        client.create_snapshot(collection_name(), wait=True)
    assert outcome("init_qdrant", "--adopt", "--retain", retain) == (0, "")
    assert_replaced(users, copied=retain != "0d")
    assert leftovers == []


def test_adopt__retain_0__makes_no_copy(qdrant_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    users = guide_collection_of(2)
    monkeypatch.setattr(temporary, "make", pytest.fail)
    assert outcome("init_qdrant", "--adopt", "--retain", "0d") == (0, "")
    assert_replaced(users, copied=False)


def test_rollback__to_the_copy__is_refused(qdrant_server: object) -> None:
    guide_collection_of(1)
    adopt()
    name = registry.copy_name()
    assert outcome("reindex_qdrant", "--rollback", name) == (
        2,
        (
            f"{name!r} is the copy of a collection that was adopted, which FindMe cannot make live: nothing was changed. Move the alias by hand as"
            " docs/how-to/adopt-a-collection.md describes."
        ),
    )
    code, line = outcome("reindex_qdrant", "--rollback")
    assert (code, "no older collection is retained" in line) == (2, True)
    assert outcome("reindex_qdrant", "--drop-retained") == (0, "")
    assert collections() == {"_v1"}


def test_copy__way_back__old_services_read_and_write_it_by_the_alias(qdrant_server: object) -> None:
    """An operator moves the alias by hand. Workers then write nothing, and say what to do."""
    users = guide_collection_of(2)
    adopt()
    sync_once(timeout=20)
    with qdrant() as client:
        client.update_collection_aliases(
            [
                models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name())),
                models.CreateAliasOperation(
                    create_alias=models.CreateAlias(collection_name=registry.copy_name(), alias_name=collection_name())
                ),
            ]
        )
    fill([point(users[0], vector=OTHER_VECTOR)])
    assert point_ids() == set(map(str, users))
    code, line = outcome("sync_qdrant", "--once", "--timeout", "1")
    assert (code, f"points to {registry.copy_name()!r}" in line) == (2, True)
    with qdrant() as client:
        client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name()))])
    assert outcome("init_qdrant") == (0, "")
    assert_replaced(users, copied=True)


def test_reindex_and_purge__with_a_copy__do_as_with_a_retained_collection(qdrant_server: object) -> None:
    users = guide_collection_of(3)
    adopt()
    sync_once(timeout=20)
    assert outcome("reindex_qdrant") == (0, "")
    assert_replaced(users, "_v2", copied=True)
    with pytest.raises(UserFacingError, match="is retained and has its own write-ahead log"):
        purge(log=True)
    User.objects.filter(pk=users[0]).delete()
    sync_once(timeout=20)
    assert [one.collection for one in purge().collections] == [version(2), registry.copy_name()]


def test_adopt__collection_of_another_program_has_the_name_of_the_copy__is_refused(qdrant_server: object) -> None:
    users = guide_collection_of(1)
    with qdrant() as client:
        client.create_collection(registry.copy_name(), vectors_config={})
    code, line = outcome("init_qdrant", "--adopt")
    assert (code, line.split(":")[0]) == (2, f"{registry.copy_name()!r} exists, and PostgreSQL does not know it")
    assert collections() == {"", "_before_adoption"}
    assert outcome("init_qdrant", "--adopt", "--retain", "0d") == (0, "")
    assert point_ids() == set(map(str, users))


def test_adopt__copy_of_an_earlier_adoption__is_replaced(qdrant_server: object) -> None:
    """The operator has gone back to the guide's collection by hand."""
    guide_collection_of(1)
    adopt()
    sync_once(timeout=20)
    with qdrant() as client:
        client.delete_collection(version(1))
    VectorCollection.objects.filter(name=version(1)).delete()
    users = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(2))
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=VECTORS)
    fill(map(point, users))
    adopt()
    assert point_ids(registry.copy_name()) == set(map(str, users))


# --- What can fail ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alter", "message"), [(half, "closed the connection"), (one_wrong_bit, "The SHA-256 of the downloaded snapshot")])
def test_adopt__download_is_damaged__keeps_the_collection(qdrant_server: object, settings: Settings, alter: Any, message: str) -> None:
    users, url = guide_collection_of(2), settings.QDRANT_URL
    with altering_proxy(url, alter) as settings.QDRANT_URL, pytest.raises(StoreUnavailable, match=message):
        adopt()
    settings.QDRANT_URL = url
    assert_untouched(users)
    adopt()
    assert_replaced(users, copied=True)


def test_adopt__no_room_for_the_download__is_refused(qdrant_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    users = guide_collection_of(2)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: type("Usage", (), {"free": 5})())
    code, line = outcome("init_qdrant", "--adopt")
    assert (code, "which has 5 left. Make room, or name another folder with --temporary-folder." in line) == (2, True)
    assert_untouched(users)


FULL_DISK = """
import resource
from findme.core.errors import UserFacingError
from vectorstore.adoption.adopt import adopt

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    adopt()
except UserFacingError as error:
    print(error)
"""


def test_adopt__disk_is_full_while_downloading__keeps_the_collection(qdrant_server: object) -> None:
    """A limit for the size of a file ends a write as a full disk does."""
    users = guide_collection_of(2)
    code, stdout, stderr = run_python(FULL_DISK)
    assert (code, "cannot be written: File too large. Make room, or name a file elsewhere.\n" in stdout) == (0, True), stderr
    assert_untouched(users)


@pytest.mark.parametrize("step", ["make", "recover_shards"])
def test_adopt__server_has_no_room__keeps_the_collection(qdrant_server: object, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    users = guide_collection_of(2)

    def fail(*_arguments: Any, **_options: Any) -> None:
        raise ServerError("Qdrant at http://host answered 500 (No space left on device): check its log, then run it again.")

    monkeypatch.setattr(temporary if step == "make" else copy, step, fail)
    code, line = outcome("init_qdrant", "--adopt")
    assert (code, "No space left on device" in line) == (2, True)
    assert_untouched(users, noted=[([], 1)] if step == "make" else [])


def test_adopt__temporary_folder_does_not_exist__is_refused(qdrant_server: object, tmp_path: Path) -> None:
    users = guide_collection_of(1)
    code, line = outcome("init_qdrant", "--adopt", "--temporary-folder", str(tmp_path / "missing"))
    assert (code, "cannot take a temporary file: No such file or directory. Make room, or name another folder" in line) == (2, True)
    assert_untouched(users)


def test_adopt__snapshot_is_on_another_node__names_node(qdrant_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load balancer leads the requests to several nodes, and each lists its own snapshots only."""
    users = guide_collection_of(1)
    monkeypatch.setattr(temporary, "make", lambda *_arguments, **_options: "elsewhere.snapshot")
    code, line = outcome("init_qdrant", "--adopt")
    assert (code, "does not list it: a load balancer leads to several nodes." in line) == (2, True)
    assert_untouched(users, noted=[(["elsewhere.snapshot"], 0)])


def test_adopt__copy_differs__keeps_the_collection(qdrant_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    users = guide_collection_of(3)
    upload = recover_shards

    def lose_a_point(client: Any, nodes: Any, name: str, *arguments: Any, **options: Any) -> None:
        upload(client, nodes, name, *arguments, **options)
        client.delete(name, models.PointIdsList(points=[str(users[1])]), wait=True)

    monkeypatch.setattr(copy, "recover_shards", lose_a_point)
    code, line = outcome("init_qdrant", "--adopt")
    assert (code, line.split(":")[0]) == (2, f"The copy {registry.copy_name()!r} lacks the point {str(users[1])!r}")
    assert_untouched(users)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("vector", "has another vector of the point"),
        ("point", "lacks the point"),
        ("number", "lacks the point '3'"),
        ("last point", "lacks the point"),
    ],
)
def test_compare_collections__point_is_missing_or_has_another_vector__is_found(qdrant_server: object, change: str, problem: str) -> None:
    users = guide_collection_of(3)
    other = f"{collection_name()}_other"
    with qdrant() as client:
        client.create_collection(other, vectors_config=VECTORS)
    fill([point(user, gender="female") for user in users], other)
    fill([point(2), point(uuid4())], other)
    assert compare_collections(collection_name(), other, ImportedVector()) == Compared(3, 3)
    if change == "number":
        fill([point(3)])
    elif change == "vector":
        fill([point(users[1], vector=OTHER_VECTOR)], other)
    else:
        with qdrant() as client:
            client.delete(other, models.PointIdsList(points=[str(users[1 if change == "point" else 2])]), wait=True)
    with pytest.raises(UserFacingError, match=f"{problem}.*was not changed"):
        compare_collections(collection_name(), other, ImportedVector())


@pytest.mark.parametrize("command", ["init_qdrant", "purge_qdrant"])
def test_adopt__killed_with_a_snapshot_on_the_server__next_command_deletes_it(qdrant_server: object, command: str) -> None:
    """The operator may decide not to adopt the collection after all. The snapshot that they made before stays."""
    users = guide_collection_of(2)
    with qdrant() as client:
        own = client.create_snapshot(collection_name(), wait=True)
        assert own is not None
    time.sleep(1)  # Qdrant names snapshots by the second
    kill_adoption("download")
    assert len(snapshots()) == 2
    outcome(command)
    assert snapshots() == [own.name]
    assert StoreState.current().downloads == []
    assert point_ids(collection_name()) == set(map(str, users))


@pytest.fixture
def watched_modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the modes of the folder and of the downloaded file when the file is uploaded."""
    found: list[str] = []
    upload = recover_shards

    def note_modes(client: Any, nodes: Any, name: str, files: Any, **options: Any) -> None:
        for contents, _ in files:
            found.extend(oct(stat.S_IMODE(path.stat().st_mode)) for path in (contents.path.parent, contents.path))
        upload(client, nodes, name, files, **options)

    monkeypatch.setattr(copy, "recover_shards", note_modes)
    return found


def test_adopt__downloaded_file__is_readable_for_its_account_only_and_is_deleted(
    qdrant_server: object, tmp_path: Path, watched_modes: list[str]
) -> None:
    guide_collection_of(1)
    adopt(Options(folder=tmp_path))
    assert watched_modes == ["0o700", "0o600"]
    assert list(tmp_path.iterdir()) == []
