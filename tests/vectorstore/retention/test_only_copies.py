"""No command deletes a vector that exists only in Qdrant without ``--discard-vectors``. Other points are deleted as usual."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings
from qdrant_client import models

from accounts.models import User
from findme.core.commands.steps import printed_steps
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.support.collections import version
from tests.support.commands import outcome, run_python
from tests.vectorstore.adoption.test_adopt import KILLED_ADOPTION, OTHER_DATABASE, create_foreign_collection
from tests.vectorstore.retention.unique_points import (
    all_state,
    as_strings,
    point,
    point_ids,
    refusal,
    users_without_embedding,
    write,
)
from tests.vectorstore.snapshots.test_restoring import snapshot
from vectorstore.adoption.adopt import Options, adopt
from vectorstore.catalog import registry
from vectorstore.catalog.alias import alias_target
from vectorstore.catalog.ownership import DATABASE, database_id
from vectorstore.consistency.versions import allocate_version, last_allocated
from vectorstore.models import ProfileEmbedding, QueueEntry, SyncLease, VectorCollection
from vectorstore.qdrant.connection import qdrant
from vectorstore.queue.entries import enqueue_orphan_scan
from vectorstore.rebuild.backfill import BackfillResult, backfill
from vectorstore.rebuild.reindex import reindex
from vectorstore.retention.drop import drop_expired
from vectorstore.retention.housekeeping import Housekeeping
from vectorstore.retention.unique_vectors import UniqueVectorsFound
from vectorstore.schema.apply import register_as_live
from vectorstore.schema.initialize import initialize
from vectorstore.snapshots.restore import restore
from vectorstore.sync.claims import claim_due
from vectorstore.sync.inline import remove_point
from vectorstore.sync.leases import expire_leases
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _short_recheck_delay(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SYNC_RECHECK_SECONDS = 0.1
    monkeypatch.setattr("vectorstore.verification.merge_join.WAIT_SECONDS", 0)


def removable_points() -> list[UUID | int]:
    """Return ids of points that no user may have or needs."""
    removable = [UserFactory.create(**{trait: True}).pk for trait in ("staff", "deleted", "anonymized")]
    return [*removable, uuid4(), 7]


def live(*points: models.PointStruct) -> None:
    """A live collection that is this database's, with points of another program."""
    initialize()
    QueueEntry.objects.all().delete()
    if points:
        write(points)


# --- init_qdrant --adopt ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [OTHER_DATABASE, None])
def test_adopt__foreign_version_that_this_database_allocated_too__is_refused(every_store: str, owner: str | None) -> None:
    for _ in range(3):
        allocate_version()
    orphan = uuid4()
    create_foreign_collection([*(point(user, version=2) for user in users_without_embedding(2)), point(orphan, version=2)], owner)
    before = all_state()
    assert outcome("init_qdrant", "--adopt") == (2, refusal(2))
    assert all_state() == before
    result = adopt(Options(discard_vectors=2))
    assert (result.survey.orphans, result.removed, result.arrived_later) == (1, 3, 0)
    assert point_ids() == set()


@pytest.mark.at_length
@pytest.mark.parametrize("at", ["raise_above", "register_as_live"])
def test_adopt__killed__next_run_needs_discard_vectors_too(embedded_qdrant: object, at: str) -> None:
    """The sequence is above their versions by then, but another database has allocated these."""
    unstored = users_without_embedding(2)
    create_foreign_collection([point(user, version=10**9) for user in unstored])
    code, _, stderr = run_python(KILLED_ADOPTION.replace("adopt()", "adopt(Options(discard_vectors=2))"), at, 0)
    assert code == -signal.SIGKILL, stderr
    SyncLease.objects.update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert outcome("init_qdrant", "--adopt") == (2, refusal(2))
    assert point_ids(version(1)) == as_strings(unstored)
    assert adopt(Options(discard_vectors=2)).removed == 2


@pytest.mark.at_length
def test_adopt__killed_before_the_deletion__later_commands_keep_the_vectors(embedded_qdrant: object) -> None:
    """The collection belongs to this database then, but another one has allocated the versions."""
    unstored = users_without_embedding(2)
    create_foreign_collection([point(user, version=10**9) for user in unstored])
    code, _, stderr = run_python(KILLED_ADOPTION.replace("adopt()", "adopt(Options(discard_vectors=2))"), "reset_checkpoint", 0)
    assert code == -signal.SIGKILL, stderr
    SyncLease.objects.update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert outcome("sync_qdrant", "--once", "--timeout", "20")[0] == 2
    assert point_ids() == as_strings(unstored)
    assert outcome("verify_qdrant", "--repair") == (2, refusal(2))
    assert point_ids() == as_strings(unstored)


def test_adopt__vector_written_meanwhile__stays(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    (unstored,) = users_without_embedding(1)
    create_foreign_collection([point(uuid4(), version=3)])

    def meanwhile(*arguments: Any, **options: Any) -> None:
        write([point(unstored, version=1)], version(1))
        register_as_live(*arguments, **options)

    monkeypatch.setattr("vectorstore.adoption.in_place.register_as_live", meanwhile)
    assert outcome("init_qdrant", "--adopt") == (1, "")
    assert point_ids() == as_strings([unstored])


def test_adopt__later_command_meets_a_foreign_version__keeps_the_vector(store: str) -> None:
    """The user had a row at the adoption, and its deletion was not captured."""
    user = ProfileEmbeddingFactory.create().pk
    for _ in range(5):
        allocate_version()
    create_foreign_collection([point(user, version=3)])
    adopt()
    ProfileEmbedding.objects.all().delete()
    QueueEntry.objects.all().delete()
    assert outcome("verify_qdrant", "--repair") == (2, refusal(1))
    QueueEntry.objects.create(user_id=user)
    assert outcome("sync_qdrant", "--once", "--timeout", "20")[0] == 2
    assert point_ids() == as_strings([user])


def test_adopt__captured_deletion_before_the_first_sync__deletes_the_point(store: str) -> None:
    user = ProfileEmbeddingFactory.create().pk
    create_foreign_collection([point(user, version=3)])
    adopt()
    ProfileEmbedding.objects.all().delete()
    assert sync_once(timeout=20).unique_vectors == 0
    assert point_ids() == set()


# --- sync_qdrant -----------------------------------------------------------------------------------------------------------------


def test_sync__changed_user_without_an_embedding__keeps_the_vector_and_reports_it(
    every_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sync completes for all other users, and reports what it has kept."""
    (unstored,) = users_without_embedding(1)
    live(point(unstored))
    synced_user = ProfileEmbeddingFactory.create().pk
    User.objects.filter(pk=unstored).update(active=False)
    assert outcome("sync_qdrant", "--once", "--timeout", "20", "--json") == (
        2,
        (
            "1 point holds the only copy of a user's vector: not deleted. Store the vectors in profile_embeddings, or delete them with manage.py"
            " sync_qdrant --once --discard-vectors 1."
        ),
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (lines[-1]["written"], lines[-1]["removed"], lines[-1]["unique_vectors"]) == (1, 0, 1)
    assert point_ids() == as_strings([unstored, synced_user])
    assert not QueueEntry.objects.exists()
    assert outcome("sync_qdrant", "--once", "--timeout", "20") == (0, "")
    assert point_ids() == as_strings([unstored, synced_user])


def test_sync__with_discard_vectors__deletes_them(store: str) -> None:
    (unstored, other) = users_without_embedding(2)
    synced_user = ProfileEmbeddingFactory.create().pk
    live(point(unstored), point(other), point(7, user_id=str(unstored)), point(synced_user))
    assert outcome("sync_qdrant", "--once", "--discard-vectors", "2") == (2, refusal(3, 2))
    assert point_ids() == as_strings([unstored, other, 7, synced_user])
    assert not QueueEntry.objects.exists()
    assert outcome("sync_qdrant", "--once", "--discard-vectors", "3") == (0, "")
    assert point_ids() == as_strings([synced_user])
    assert outcome("sync_qdrant", "--watch", "--discard-vectors", "3")[0] == 2


def test_sync__captured_deletions__delete_the_points(store: str) -> None:
    """The version does not matter: the rows are deleted, or the users must not be shown."""
    known = [embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(5)]
    live(*map(point, known), *map(point, unstored := users_without_embedding(3)))
    ProfileEmbedding.objects.filter(pk=known[0]).delete()
    ProfileEmbedding.objects.filter(pk=known[1]).update(user_id=(moved := users_without_embedding(1)[0]))
    User.objects.filter(pk=known[2]).update(deleted_at=datetime(2026, 1, 1, tzinfo=UTC))
    User.objects.filter(pk=known[3]).update(is_staff=True)
    User.objects.filter(pk=unstored[0]).delete()
    User.objects.filter(pk=unstored[1]).update(deleted_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert sync_once(timeout=20).unique_vectors == 0
    assert point_ids() == as_strings([known[4], moved, unstored[2]])


def test_remove_point__unique_vector__is_deleted(store: str) -> None:
    (unstored,) = users_without_embedding(1)
    live(point(unstored))
    assert remove_point(unstored)
    assert point_ids() == set()


def test_sync__orphan_scan_keeps_unique_vectors_and_truncate_deletes_them(store: str) -> None:
    (unstored,) = users_without_embedding(1)
    live(point(unstored), point(uuid4()))
    enqueue_orphan_scan()
    assert sync_once(timeout=20).unique_vectors == 1
    assert point_ids() == as_strings([unstored])
    truncate_embeddings()
    assert sync_once(timeout=20).unique_vectors == 0
    assert point_ids() == set()


def truncate_embeddings() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE profile_embeddings")


def test_sync__orphan_scan_after_an_expired_lease__keeps_unique_vectors(embedded_qdrant: object) -> None:
    (unstored,) = users_without_embedding(1)
    live(point(unstored))
    enqueue_orphan_scan()
    assert claim_due(uuid4(), 10) is not None
    SyncLease.objects.update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    expire_leases()
    assert sync_once(timeout=20).unique_vectors > 0
    assert point_ids() == as_strings([unstored])


def test_sync__unique_vector_in_a_secondary_collection__is_kept(store: str) -> None:
    (unstored,) = users_without_embedding(1)
    live()
    reindex(retain=timedelta(days=7))
    write([point(unstored)], version(1))
    User.objects.filter(pk=unstored).update(verified=False)
    assert sync_once(timeout=20).unique_vectors == 1
    assert point_ids(version(1)) == as_strings([unstored])


# --- verify_qdrant ---------------------------------------------------------------------------------------------------------------


def test_repair__unique_vectors__needs_discard_vectors(every_store: str, capsys: pytest.CaptureFixture[str]) -> None:
    (unstored, other) = users_without_embedding(2)
    live(point(unstored), point(other, version=[5]), point(7, user_id=str(unstored)), point(uuid4()))
    code, _ = outcome("verify_qdrant")
    printed = capsys.readouterr().out
    assert code == 1
    assert "\n  3 points hold the only copy of a user's vector: --repair deletes none without --discard-vectors.\n" in printed
    assert printed.endswith("To repair this: manage.py verify_qdrant --repair --discard-vectors 3, or store those vectors first\n")
    before = all_state()
    for arguments in ([], ["--force"], ["--max-changes", "1000"]):
        assert outcome("verify_qdrant", "--repair", *arguments) == (2, refusal(3))
    assert all_state() == before
    capsys.readouterr()
    assert outcome("verify_qdrant", "--repair", "--discard-vectors", "3", "--json") == (1, "")
    assert json.loads(capsys.readouterr().out)["collections"][0]["unique_vectors"] == 3
    sync_once(timeout=20)
    assert point_ids() == set()


def test_repair__points_that_no_user_needs__are_removed(store: str) -> None:
    live(*map(point, removable_points()))
    assert outcome("verify_qdrant", "--repair") == (1, "")
    sync_once(timeout=20)
    assert point_ids() == set()


def test_repair__point_that_this_database_wrote__is_removed(store: str) -> None:
    """PostgreSQL had the vector, so it does not count as unique even if its deletion was not captured."""
    user = ProfileEmbeddingFactory.create().pk
    live()
    QueueEntry.objects.create(user_id=user)
    sync_once(timeout=20)
    ProfileEmbedding.objects.all().delete()
    QueueEntry.objects.all().delete()
    assert outcome("verify_qdrant", "--repair") == (1, "")
    sync_once(timeout=20)
    assert point_ids() == set()


def test_repair__postgresql_was_restored__keeps_later_vectors(store: str) -> None:
    """Points that were written after the backup have unallocated versions, and may hold the only copy."""
    (unstored, pending) = users_without_embedding(2)
    live(point(unstored, version=last_allocated() + 5), point(pending, version=last_allocated() + 6))
    QueueEntry.objects.create(user_id=pending)
    assert outcome("verify_qdrant", "--repair") == (2, refusal(1))
    ProfileEmbeddingFactory.create(user=User.objects.get(pk=unstored))
    assert outcome("verify_qdrant", "--repair") == (1, "")
    assert sync_once(timeout=20).unique_vectors == 1
    assert point_ids() == as_strings([unstored, pending])


# --- reindex_qdrant --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--retain", "7d"]])
def test_reindex__unique_vectors__is_refused_and_changes_nothing(store: str, arguments: list[str]) -> None:
    (unstored,) = users_without_embedding(1)
    live(point(unstored))
    before = all_state()
    assert outcome("reindex_qdrant", *arguments) == (2, refusal(1))
    assert all_state() == before


def test_reindex__with_discard_vectors__drops_them(every_store: str) -> None:
    (unstored,) = users_without_embedding(1)
    live(point(unstored), *map(point, removable_points()))
    assert outcome("reindex_qdrant", "--discard-vectors", "1") == (0, "")
    assert point_ids() == set()
    assert [row.name for row in VectorCollection.objects.all()] == [version(2)]


def test_reindex__points_that_no_user_needs__are_dropped_with_the_old_collection(store: str) -> None:
    live(*map(point, removable_points()))
    assert outcome("reindex_qdrant") == (0, "")
    assert point_ids() == set()


def test_reindex__vector_written_meanwhile__keeps_the_old_collection(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (unstored,) = users_without_embedding(1)
    live()

    def meanwhile(*arguments: Any, **options: Any) -> BackfillResult:
        write([point(unstored)])
        return backfill(*arguments, **options)

    monkeypatch.setattr("vectorstore.rebuild.build.backfill", meanwhile)
    lines: list[str] = []
    with printed_steps("findme.vectorstore", lines.append):
        result = reindex()
    assert (result.dropped, result.retained) == ((), True)
    assert lines[-1] == f"Not every expired collection could be dropped: {refusal(1, what=f'{version(1)!r} stays')}"
    assert point_ids(version(1)) == as_strings([unstored])
    User.objects.filter(pk=unstored).delete()
    sync_once(timeout=20)
    assert point_ids() == set()
    assert not collection_exists(version(1))


def collection_exists(name: str) -> bool:
    with qdrant() as client:
        return client.collection_exists(name)


def test_drop_expired__unique_vectors__needs_discard_vectors(store: str, caplog: pytest.LogCaptureFixture) -> None:
    (unstored,) = users_without_embedding(1)
    live()
    reindex(retain=timedelta(days=7))
    write([point(unstored)], version(1))
    VectorCollection.objects.filter(name=version(1)).update(retain_until=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(UniqueVectorsFound):
        drop_expired()
    assert "An expired collection is not dropped: 1 point holds the only copy of a user's vector" in caplog.text
    assert Housekeeping().run() == ()
    assert registry.write_targets() == (version(2), version(1))
    before = all_state()
    assert outcome("reindex_qdrant", "--drop-retained") == (2, refusal(1, what="nothing was dropped"))
    assert outcome("reindex_qdrant") == (2, refusal(1))
    assert all_state() == before
    assert outcome("reindex_qdrant", "--drop-retained", "--discard-vectors", "1") == (0, "")
    assert not collection_exists(version(1))


def test_drop_expired__permission_of_an_earlier_reindex__does_not_count(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    (unstored,) = users_without_embedding(1)
    live(point(unstored))
    assert outcome("reindex_qdrant", "--retain", "7d", "--discard-vectors", "1") == (0, "")
    assert capsys.readouterr().out.endswith(
        f"1 point holds the only copy of a user's vector in {version(1)}: no worker drops it."
        " To drop it, run reindex_qdrant --drop-retained --discard-vectors 1.\n"
    )
    VectorCollection.objects.filter(name=version(1)).update(retain_until=datetime(2026, 1, 1, tzinfo=UTC))
    assert Housekeeping().run() == ()
    assert outcome("reindex_qdrant") == (2, refusal(1))
    assert point_ids(version(1)) == as_strings([unstored])
    assert outcome("reindex_qdrant", "--drop-retained", "--discard-vectors", "1") == (0, "")
    assert not collection_exists(version(1))


def test_drop_retained__dry_run__has_the_number_of_unique_vectors(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    (unstored,) = users_without_embedding(1)
    live()
    reindex(retain=timedelta(days=7))
    write([point(unstored)], version(1))
    call_command("reindex_qdrant", "--drop-retained", "--dry-run", "--json")
    assert json.loads(capsys.readouterr().out) == {"dry_run": True, "dropped": [version(1)], "unique_vectors": 1}
    call_command("reindex_qdrant", "--drop-retained", "--dry-run")
    assert capsys.readouterr().out == f"Would be dropped: {version(1)}.\n1 point holds the only copy of a user's vector.\n"
    assert collection_exists(version(1))


def test_rollback__unique_vector_in_the_live_collection__is_refused(store: str) -> None:
    (unstored,) = users_without_embedding(1)
    live()
    reindex(retain=timedelta(days=7))
    write([point(unstored)])
    before = all_state()
    assert outcome("reindex_qdrant", "--rollback") == (2, refusal(1))
    assert all_state() == before


# --- purge_qdrant ----------------------------------------------------------------------------------------------------------------


@pytest.mark.qdrant_server
@pytest.mark.parametrize("arguments", [["--log"], ["--drop-retained"], ["--log", "--drop-retained"]])
def test_purge__unique_vectors__needs_discard_vectors(
    qdrant_server: object, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (unstored,) = users_without_embedding(1)
    live()
    if "--drop-retained" in arguments:
        reindex(retain=timedelta(days=7))
        write([point(unstored)], version(1))
    else:
        write([point(unstored)])
    before = all_state()
    assert outcome("purge_qdrant", *arguments) == (2, refusal(1))
    assert all_state() == before
    outcome("purge_qdrant", "--dry-run", "--json", *arguments)
    assert json.loads(capsys.readouterr().out)["purged"]["unique_vectors"] == 1
    assert collection_exists(version(1))
    outcome("purge_qdrant", "--discard-vectors", "1", *arguments)
    assert not collection_exists(version(1))


# --- qdrant_snapshot restore -----------------------------------------------------------------------------------------------------


@pytest.mark.qdrant_server
@pytest.mark.parametrize("foreign", [False, True])
def test_restore__snapshot_with_unique_vectors__needs_discard_vectors(server: object, tmp_path: Path, *, foreign: bool) -> None:
    (unstored,) = users_without_embedding(1)
    allocate_version()
    allocate_version()
    live(point(unstored, **({"version": 1} if foreign else {})), *map(point, removable_points()))
    if foreign:
        with qdrant() as client:
            client.update_collection(version(1), metadata={DATABASE: OTHER_DATABASE})
    path = snapshot(tmp_path)
    with qdrant() as client:
        client.update_collection(version(1), metadata={DATABASE: database_id()})
    before = all_state()
    if not foreign:  # the live collection is replaced
        assert outcome("qdrant_snapshot", "restore", str(path)) == (2, refusal(1))
        assert all_state() == before
    with qdrant() as client:
        client.delete(version(1), models.PointIdsList(points=[str(unstored)]), wait=True)
    code, line = outcome("qdrant_snapshot", "restore", str(path))
    assert (code, line) == (2, refusal(1, what="the alias was not moved"))
    with qdrant() as client:
        assert alias_target(client) == version(1)
        assert not client.collection_exists(version(2))
    assert outcome("qdrant_snapshot", "restore", str(path), "--discard-vectors", "1") == (0, "")
    assert point_ids() == set()


@pytest.mark.qdrant_server
def test_restore__vector_written_meanwhile__keeps_the_old_collection(qdrant_server: object, tmp_path: Path) -> None:
    (unstored,) = users_without_embedding(1)
    live()
    path = snapshot(tmp_path)

    def meanwhile(line: str) -> None:
        if "was restored from the snapshot" in line:
            write([point(unstored)])

    with printed_steps("findme.vectorstore", meanwhile):
        result = restore([path])
    assert (result.retained, result.dropped) == (True, ())
    assert point_ids(version(1)) == as_strings([unstored])


def test_discard_vectors__without_its_main_option__is_refused(embedded_qdrant: object) -> None:
    for command in ("init_qdrant", "verify_qdrant"):
        code, line = outcome(command, "--discard-vectors", "3")
        assert code == 2
        assert line.startswith("--discard-vectors needs")
    _, line = outcome("reindex_qdrant", "--discard-vectors", "-1")
    assert "'-1' is not a whole number" in line
