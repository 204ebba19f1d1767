from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from backups.create import create_backup
from backups.destinations.opening import open_destination
from backups.listing import manifest_in
from backups.manifest import Manifest
from backups.proof.collections import COLLECTION
from privacy.ledger.signing import verifying_keys
from tests.backups.making import key_pair, request
from tests.factories import ProfileEmbeddingFactory
from tests.qdrant import QdrantServer
from vectorstore.catalog.alias import alias_target
from vectorstore.consistency.version_digest import version_digest
from vectorstore.models import QueueEntry, StoreState, VectorCollection
from vectorstore.qdrant.connection import qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import sync_users

NAME = "Erika Unmistakable"


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with backups that several tests copy, and the key of the encrypted one."""
    return tmp_path_factory.mktemp("kept")


def copied(kept: Path, place: Path, kind: str) -> Manifest:
    """Copy the backup of this kind to the test's destination. The first test makes it, with two users who have embeddings."""
    source = kept / kind
    if not source.exists():
        source.mkdir(mode=0o700)
        ProfileEmbeddingFactory.create_batch(2, user__full_name=NAME)
        recipients = (key_pair(kept / "key"),) if kind == "encrypted" else ()
        create_backup(open_destination(str(source)), request(recipients=recipients))
    shutil.copytree(source, place, dirs_exist_ok=True)
    [name] = [path.name for path in place.iterdir()]
    return manifest_in(open_destination(str(place)), name, verifying_keys())


@pytest.fixture
def made(embedded_qdrant: object, place: Path, kept: Path) -> Manifest:
    """A backup of two users in the test's destination."""
    return copied(kept, place, "plain")


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check that no scratch database and no folder is left in the end."""
    before = scratch_databases()
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield
    assert scratch_databases() <= before
    assert list(folder.iterdir()) == []


def scratch_databases() -> set[str]:
    """Return the scratch databases of this process. Others that run tests on the same server have theirs."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'findme\\_scratch\\_%%' AND shobj_description(oid, 'pg_database') LIKE %s",
            [f"%:{os.getpid()}.%"],
        )
        return {name for (name,) in cursor.fetchall()}


@pytest.fixture
def users(qdrant_server: QdrantServer) -> list[Any]:
    """Three users with points."""
    initialize()
    found = [one.pk for one in ProfileEmbeddingFactory.create_batch(3)]
    sync_users(found)
    QueueEntry.objects.all().delete()
    return found


def scratch_collections() -> list[str]:
    with qdrant() as client:
        return [one.name for one in client.get_collections().collections if COLLECTION.fullmatch(one.name)]


def live_state() -> tuple[Any, ...]:
    """Return what a deep verification must not change."""
    with qdrant() as client:
        target = alias_target(client)
        assert target is not None
        metadata = client.get_collection(target).config.metadata
    return (
        target,
        version_digest(target),
        metadata,
        list(VectorCollection.objects.values_list("name", "state")),
        StoreState.current().checkpoint,
    )
