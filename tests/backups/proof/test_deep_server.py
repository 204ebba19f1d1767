"""A deep verification with a Qdrant server: the snapshot in a collection of its own, compared with the restored PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from backups.create import create_backup
from backups.destinations.destination import Destination
from backups.models import BackupVerification
from backups.postgresql.cluster import describe_database
from backups.postgresql.scratch import scratch_database
from backups.proof.collections import delete_abandoned_collections, scratch_alias
from backups.proof.deep import verify_deep
from backups.proof.target import require_scratch
from backups.streams.keys import read_identities
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.ledger.signing import verifying_keys
from tests.backups.making import SERVERS, key_pair, request
from tests.backups.proof.conftest import live_state, scratch_collections
from tests.backups.proof.test_deep import sign_again
from tests.factories import ProfileEmbeddingFactory
from tests.qdrant import QdrantServer
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.apply import make
from vectorstore.snapshots.downloads import downloads
from vectorstore.snapshots.repository import list_snapshots

pytestmark = [pytest.mark.qdrant_server, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("nothing_left")]


@pytest.mark.long
def test_verify_deep__snapshot__is_restored_and_equal(users: list[Any], destination: Destination, tmp_path: Path) -> None:
    """Points that differ from PostgreSQL are counted: the snapshot lacks one user, and has one who is gone in PostgreSQL."""
    orphan, missing = users[0], ProfileEmbeddingFactory.create().pk
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [orphan])
    made = create_backup(destination, request(recipients=(key_pair(tmp_path / "key"),)))
    before = live_state()
    identities = read_identities(tmp_path / "key")
    _, proof = verify_deep(destination, made.name, verifying_keys(), identities, SERVERS)
    assert proof.is_from_snapshot
    assert (proof.points, proof.removed, proof.written, proof.unique_vectors, proof.recall) == (3, 1, 1, 0, 1.0)
    assert missing is not None
    assert live_state() == before
    assert scratch_collections() == []
    assert list_snapshots().snapshots == ()
    assert downloads() == ()
    row = BackupVerification.objects.get()
    assert (row.error, row.compared["removed"], row.compared["is_from_snapshot"]) == ("", 1, True)


@pytest.mark.parametrize("encrypted", [False, True])
def test_verify_deep__one_bit_of_the_snapshot__is_refused(
    users: list[Any], place: Path, destination: Destination, tmp_path: Path, encrypted: bool
) -> None:
    recipient = key_pair(tmp_path / "key")
    made = create_backup(destination, request(recipients=(recipient,) if encrypted else ()))
    [path] = (place / made.name).glob("qdrant-*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserFacingError, match=f"'{path.name}' is damaged"):
        verify_deep(destination, made.name, verifying_keys(), read_identities(tmp_path / "key") if encrypted else (), SERVERS)
    assert scratch_collections() == []


@pytest.mark.parametrize("version", ["1.10.0", "9.0.0"])
def test_verify_deep__snapshot_of_another_version__is_refused(
    users: list[Any], place: Path, destination: Destination, version: str
) -> None:
    made = create_backup(destination, request())
    assert made.qdrant is not None
    sign_again(place, replace(made, qdrant=replace(made.qdrant, server_version=version)))
    with pytest.raises(UserFacingError, match=f"cannot take a snapshot of Qdrant {version}"):
        verify_deep(destination, made.name, verifying_keys(), (), SERVERS)


def test_verify_deep__server_is_gone__nothing_is_done(users: list[Any], destination: Destination, settings: Any) -> None:
    made = create_backup(destination, request())
    settings.QDRANT_URL = "http://127.0.0.1:9"
    with pytest.raises(StoreUnavailable):
        verify_deep(destination, made.name, verifying_keys(), (), SERVERS)
    assert not BackupVerification.objects.exists()


def test_delete_abandoned_collections__only_those_without_a_run(qdrant_server: QdrantServer, settings: Any) -> None:
    """The lock of the scratch database decides, and the number of the server: the locks of another one are not known here."""
    live_name = settings.QDRANT_COLLECTION
    with scratch_database(connection, describe_database(connection), "test") as scratch:
        server = require_scratch(connection, scratch)
        of_a_run = f"{scratch_alias(server)}_v1"
        abandoned = f"findme_scratch_{'7' * 8}_{'7' * 16}_{server.system_identifier}_v1"
        of_another_server = f"findme_scratch_{'7' * 8}_{'7' * 16}_1_v1"
        others = [f"{live_name}_v1", of_another_server, of_a_run]
        with qdrant() as client:
            try:
                for name in (*others, abandoned):
                    make(client, name)
                assert delete_abandoned_collections(connection, server, ()) == [abandoned]
                assert all(client.collection_exists(name) for name in others)
                assert not client.collection_exists(abandoned)
            finally:
                for name in (*others, abandoned):
                    client.delete_collection(name)
    assert collection_name() == live_name
