"""What a restored database ends of the vector store, and the collections that it takes over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection
from qdrant_client.models import PointStruct

from accounts.models import User
from findme.core.errors import UserFacingError
from privacy.actions.erase import erase
from tests.support.collections import version
from tests.support.users import create_synced_users, create_users
from tests.support.vectors import unit_vector
from vectorstore.catalog import registry
from vectorstore.catalog.ownership import database_id
from vectorstore.consistency import preflight
from vectorstore.consistency.checkpoint import compare_checkpoints, reset_checkpoint
from vectorstore.consistency.restored import (
    Registered,
    forget_collections,
    raise_above_found,
    register_found,
)
from vectorstore.consistency.versions import MARGIN, allocate_version, last_allocated
from vectorstore.models import QuarantinedUser, QueueEntry, StoreState, SyncLease, SyncWorker, VectorCollection, VectorImport, Verification
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import RestoreDetected
from vectorstore.queue.entries import ALL_USERS, enqueue
from vectorstore.rebuild.reindex import reindex
from vectorstore.restored import end_imports, end_workers
from vectorstore.schema.initialize import compare
from vectorstore.sync.inline import point_of, sync_users
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db

LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def sequence_set_back() -> Iterator[None]:
    """Set the sequence back after the test: no rollback does that."""
    before = last_allocated()
    yield
    set_sequence(before + 1)


def set_sequence(value: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('vector_sync_version', %s)", [value])


def found(*, compared: bool = True) -> Registered:
    with qdrant() as client:
        return register_found(client, compared=compared)


def exists(name: str) -> bool:
    with qdrant() as client:
        return client.collection_exists(name)


# --- Before the switch -----------------------------------------------------------------------------------------------------------


def test_forget__a_worker_writes_to_no_collection_that_exists(live: str) -> None:
    (user_id,) = create_synced_users(1)
    before = point_of(user_id)
    assert forget_collections() == "1 collection of the time of the backup was forgotten."
    enqueue([user_id])
    with pytest.raises(UserFacingError, match="which PostgreSQL does not know"):
        sync_users([user_id])
    assert QueueEntry.objects.filter(user_id=user_id).exists()
    VectorCollection.objects.create(name=live, alias=collection_name(), state="live", definition_hash="", app_version="")
    assert point_of(user_id) == before


def test_forget__an_erasure_deletes_no_point_of_a_collection_that_exists(live: str) -> None:
    (user_id,) = create_synced_users(1)
    forget_collections()
    with pytest.raises(UserFacingError, match="which PostgreSQL does not know"):
        erase(user_id)
    assert User.objects.filter(pk=user_id).exists()
    with qdrant() as client:
        assert client.count(live, exact=True).count == 1


def test_forget__what_was_known_of_the_collections(live: str) -> None:
    create_synced_users(1)
    with qdrant() as client:
        reset_checkpoint(client)
    verify()
    StoreState.objects.update(
        pending_checkpoint={"id": "a", "version": 1, "at": "", "newest": {}},
        ages_refreshed_on=date(2026, 1, 1),
        ages_last_entry_id=1,
        ages_valid_on=date(2026, 1, 1),
        saved_settings={live: {}},
    )
    before = database_id()
    forget_collections()
    state = StoreState.current()
    assert (state.checkpoint, state.pending_checkpoint, state.checkpoint_at) == (None, None, None)
    assert (state.ages_refreshed_on, state.ages_last_entry_id, state.ages_valid_on) == (None, None, None)
    assert not VectorCollection.objects.exists() and not Verification.objects.exists()
    assert (database_id(), state.saved_settings) == (before, {live: {}})
    assert forget_collections() == ""


def test_forget__notes_of_downloads_that_are_gone(live: str, tmp_path: Path) -> None:
    here, gone = (
        {"host": socket.gethostname(), "folder": str(tmp_path), "alias": "a"},
        {"host": socket.gethostname(), "folder": "/gone", "alias": "a"},
    )
    elsewhere, on_a_server = gone | {"host": "another"}, gone | {"snapshots": [["http://127.0.0.1:6333", "a.snapshot"]]}
    StoreState.objects.update(downloads=[here, gone, elsewhere, on_a_server])
    forget_collections()
    assert StoreState.current().downloads == [here, elsewhere, on_a_server]
    forget_collections(new_id=True)
    assert StoreState.current().downloads == []


def test_forget__with_a_new_id__owns_no_collection(live: str) -> None:
    create_synced_users(1)
    before = database_id()
    forget_collections(new_id=True)
    assert database_id() != before
    assert found() == Registered(None, (), (live,))
    assert not VectorCollection.objects.exists()


def test_raise_above__versions_that_are_newer_than_the_database(live: str) -> None:
    start = last_allocated()
    with qdrant() as client:
        client.upsert(live, [PointStruct(id=str(uuid4()), vector=unit_vector(1), payload={"version": start + 5_000})], wait=True)
        assert raise_above_found(client) == start + 5_000
    assert allocate_version() > start + 5_000 + MARGIN


@pytest.mark.parametrize("metadata", ["findme_deleted_at_version", "findme_checkpoint"])
def test_raise_above__versions_in_the_metadata(live: str, metadata: str) -> None:
    highest = last_allocated() + 7_000
    value = highest if metadata == "findme_deleted_at_version" else {"id": "a", "version": highest, "at": ""}
    forget_collections()
    with qdrant() as client:
        client.update_collection(live, metadata={metadata: value})
        assert raise_above_found(client) == highest
    assert allocate_version() > highest


# --- After the switch ------------------------------------------------------------------------------------------------------------


def test_register__the_collection_of_the_alias_is_as_it_was(live: str) -> None:
    (user_id,) = create_synced_users(1)
    forget_collections()
    assert found() == Registered(live, (), ())
    assert registry.live() == live
    assert not compare().differences
    User.objects.filter(pk=user_id).update(verified=False)
    sync_users([user_id])
    point = point_of(user_id)
    assert point is not None and point["payload"]["verified"] is False
    assert found() == Registered(live, (), ())


def test_register__other_collections_are_retained_until_an_operator_drops_them(live: str) -> None:
    create_synced_users(2)
    reindex(retain=None)  # type: ignore[arg-type]  # until an operator drops it
    forget_collections()
    assert found() == Registered(version(2), (version(1),), ())
    rows = {row.name: row for row in VectorCollection.objects.all()}
    assert {name: row.state for name, row in rows.items()} == {version(1): "retained", version(2): "live"}
    assert rows[version(1)].retain_until is None
    with qdrant() as client:
        compare_checkpoints(client)
    assert verify().clean


def test_register__the_new_collection_of_a_restore_becomes_live(live: str) -> None:
    """The old collection was live, and the alias was moved to the new one while the row of the new one said that it is ready."""
    create_synced_users(1)
    reindex(retain=None)  # type: ignore[arg-type]
    VectorCollection.objects.filter(name=version(1)).update(state="building")
    VectorCollection.objects.filter(name=version(2)).update(state="ready", live_since=None)
    assert found() == Registered(version(2), (version(1),), ())
    assert registry.live() == version(2)
    assert VectorCollection.objects.get(name=version(2)).live_since is not None


@pytest.mark.parametrize("metadata", [{"findme_database": str(uuid4())}, {"findme_adopting": True}])
def test_register__a_collection_that_is_not_the_databases__is_left_alone(live: str, metadata: dict[str, object]) -> None:
    forget_collections()
    with qdrant() as client:
        client.update_collection(live, metadata=metadata)
    assert found() == Registered(None, (), (live,))
    assert not VectorCollection.objects.exists()


def test_register__settings_of_collections_that_are_gone__are_forgotten(live: str) -> None:
    StoreState.objects.update(saved_settings={live: {}, "gone": {}})
    found()
    assert StoreState.current().saved_settings == {live: {}}


def test_comparison__is_required_before_a_worker_writes(live: str) -> None:
    (user_id,) = create_synced_users(1)
    with qdrant() as client:
        reset_checkpoint(client)
    forget_collections()
    found(compared=False)
    enqueue([user_id])
    preflight._compared.clear()  # as in a new process, or on a new connection
    with pytest.raises(RestoreDetected, match="one of the two was restored to an older copy"):
        sync_once()
    assert verify(repairing=True).checkpoint_written
    assert sync_once().written == 1


# --- Workers and imports ---------------------------------------------------------------------------------------------------------


def test_workers__leases_and_quarantine_end_and_their_users_are_queued() -> None:
    leased, quarantined = create_users(2)
    QueueEntry.objects.all().delete()
    SyncWorker.objects.create(id=uuid4(), host="gone", pid=1)
    for user_id in (leased, ALL_USERS):
        SyncLease.objects.create(user_id=user_id, worker_id=uuid4(), expires_at=LATER)
    QuarantinedUser.objects.create(user_id=quarantined, reason="", collection="gone")
    assert end_workers() == "1 worker and 2 leases of sync_qdrant were ended, and 1 quarantined user was queued."
    assert not (SyncWorker.objects.exists() or SyncLease.objects.exists() or QuarantinedUser.objects.exists())
    assert {(entry.user_id, entry.cause) for entry in QueueEntry.objects.all()} == {(leased, "recheck"), (quarantined, ""), (None, "scan")}
    assert end_workers() == ""


def test_imports__interrupted_ones_begin_again() -> None:
    VectorImport.objects.create(place="a", collection="a", last_point="7", rejects={"path": "/gone", "size": 1})
    VectorImport.objects.create(place="b", collection="b", finished_at=LATER)
    assert end_imports() == "1 import of embeddings will begin again at the first point."
    assert list(VectorImport.objects.order_by("place").values_list("last_point", "rejects")) == [("", None), ("", None)]
    assert end_imports() == ""
