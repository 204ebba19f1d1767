"""After an erasure and a purge, no byte of the vector, the address or the name is left: in Qdrant's files, in a dump, in PostgreSQL's files."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings as django_settings
from django.db import connection
from pytest_django import Settings
from qdrant_client.models import PointStruct

from accounts.models import User
from findme.embedded import server
from privacy.models.request_choices import Kind, WithdrawalReason
from privacy.registry import registry
from privacy.requests import steps
from privacy.requests.jobs import delete_expired_contacts
from tests.factories import ProfileEmbeddingFactory, VideoCallFactory, VideoFactory
from tests.privacy.documented_purge import contents, documented
from tests.privacy.life import EMAIL, FULL_NAME, WORDS, full_life, open_session
from tests.qdrant import QdrantServer, started_qdrant
from tests.support.commands import manage_here
from tests.support.dumps import dump
from tests.support.qdrant_files import places
from tests.support.vectors import unit_vector
from tests.support.waiting import wait_until
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.snapshots.repository import create
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server, pytest.mark.at_length]

OTHERS = 30
VECTOR = [3 * number for number in unit_vector(987_654)]
"""No other user of the tests has this vector. Qdrant has to normalize it."""
NUMBERS = 8
"""Numbers of a vector to search for: their bytes occur nowhere by chance."""


@pytest.fixture
def folder(memory_path: Path, settings: Settings) -> Iterator[Path]:
    """Start a server of its own with the collection, and yield the folder with everything that it stores."""
    with started_qdrant(memory_path) as own:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = own.url, "", 0
        settings.QDRANT_COLLECTION, settings.QDRANT_TIMEOUT = "users", 5
        initialize()
        yield memory_path


@pytest.fixture
def person(folder: Path) -> User:
    """A user with rows in every table, and a vector that Qdrant has to normalize. Its point is in Qdrant, and in a snapshot."""
    person = full_life()
    open_session(person)
    ProfileEmbedding.objects.filter(pk=person.pk).update(vector=VECTOR, interests=[EMAIL, "Quux"])
    ProfileEmbeddingFactory.create_batch(OTHERS)
    VideoFactory.create()
    VideoCallFactory.create()  # ANALYZE keeps the statistics of an empty table
    sync_once()
    create()
    return person


@pytest.fixture
def needles(person: User) -> dict[str, bytes]:
    """The bytes to search for: the vector as PostgreSQL, Qdrant's segments (normalized) and its log (CBOR) store it, and the words."""
    (point,) = qdrant_points(person)
    given, stored = (np.array(numbers[:NUMBERS], np.float32) for numbers in (VECTOR, point.vector))
    assert not np.allclose(given, stored)
    return {
        "vector in PostgreSQL": given.tobytes(),
        "vector in a segment": stored.tobytes(),
        "vector in the log": b"".join(b"\xfa" + struct.pack(">f", number) for number in stored[:3]),
        **{word: word.encode() for word in WORDS},
    }


def qdrant_points(person: User) -> list[Any]:
    with qdrant() as client:
        return client.retrieve(collection_name(), [str(person.pk)], with_vectors=True)


def erase(person: User) -> None:
    assert manage_here("erase_user", person.pk, "--hard", "--no-input")[0] == 0
    sync_once()


def test_qdrant__no_byte_in_the_storage_folder(folder: Path, person: User, needles: dict[str, bytes]) -> None:
    before = places(folder, needles)
    assert "vector in a segment" in before["segments"]
    assert {"vector in the log", EMAIL} <= before["wal"]
    assert {"vector in a segment", EMAIL} <= before["snapshots"]
    erase(person)
    assert places(folder, needles) != {}
    code, out, err = manage_here("purge_qdrant", "--snapshots", "--log", "--storage", folder / "storage")
    assert (code, err) == (0, ""), out
    assert places(folder, needles) == {}


def test_postgresql__no_byte_in_a_dump(person: User) -> None:
    before = dump()
    vector = vector_in(before, person)
    assert vector.count(",") == NUMBERS - 1
    assert {EMAIL, FULL_NAME} <= {word for word in WORDS if word in before}
    erase(person)
    after = dump()
    assert [text for text in (vector, *WORDS) if text in after] == []


def vector_in(text: str, person: User) -> str:
    """Return the beginning of the person's vector as the dump has it."""
    (row,) = [line for line in text.splitlines() if line.startswith(f"{person.pk}\t{{")]
    return ",".join(row.partition("{")[2].split(",")[:NUMBERS])


@pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="it reads the files of the embedded server")
def test_postgresql__no_byte_in_the_files_of_the_tables(person: User, needles: dict[str, bytes]) -> None:
    """A request had the address, which was deleted from it before. The old version of its row is in the file of the table."""
    request = steps.record(Kind.ERASURE, user_id=person.pk)
    assert request.contact == person.email
    steps.withdraw(request.pk, WithdrawalReason.MISTAKE)
    assert delete_expired_contacts() == 1
    execute("ANALYZE", "CHECKPOINT")
    assert {"vector in PostgreSQL", EMAIL, FULL_NAME} <= found_in_files(needles)
    erase(person)
    wait_until(lambda: purged(needles, *documented()) == set(), "No byte is left")


def purged(needles: dict[str, bytes], *statements: str) -> set[str]:
    execute(*statements)
    return found_in_files(needles)


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def found_in_files(needles: dict[str, bytes]) -> set[str]:
    """Return the traces in the files of the test's database. The write-ahead log is not part of them."""
    running = server.running(Path(django_settings.EMBEDDED_POSTGRES_DIR))
    assert running is not None
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'base/' || oid FROM pg_database WHERE datname = current_database()")
        (folder,) = cursor.fetchone()
    files = [contents(path) for path in (running.folder / "data" / folder).iterdir()]
    return {name for name, needle in needles.items() for content in files if needle in content}


@pytest.mark.parametrize("key", ["0f4e1f52-1cf6-4a44-9d6b-1f8f8f0f2a11", 7])
def test_scan__finding_under_another_key__is_removed_by_a_repair(qdrant_server: QdrantServer, key: str | int) -> None:
    """Another program has written a point with the user's id in its payload only. A purge deletes nothing that can be reached."""
    initialize()
    person = ProfileEmbeddingFactory.create().user
    ProfileEmbeddingFactory.create_batch(5)
    sync_once()
    erase(person)
    with qdrant() as client:
        client.upsert(collection_name(), [PointStruct(id=key, vector=VECTOR, payload={"user_id": str(person.pk)})], wait=True)
    (store,) = registry.stores
    assert store.remaining(person.pk) == []
    assert store.scan([person.pk]) == {person.pk}
    assert manage_here("verify_qdrant", "--repair", "--force")[0] in (0, 1)
    sync_once()
    assert store.scan([person.pk]) == frozenset()
