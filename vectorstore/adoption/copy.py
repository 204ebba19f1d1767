"""Retain a copy of a collection before it is deleted: Qdrant renames no collection, and a collection and an alias cannot share a name.

A snapshot of each node is downloaded with its checksum, uploaded under another name, and compared point by point. The copy is then retained: it
receives deletions, and no other write. It holds the points of users whose vector PostgreSQL has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import PointIdsList, WriteOrdering

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.files import atomic_write
from findme.core.plurals import counted
from vectorstore.adoption.imported import ImportedVector
from vectorstore.catalog import registry
from vectorstore.catalog.alias import collection_names
from vectorstore.catalog.lock import keep_session
from vectorstore.catalog.ownership import ADOPTED_AT, DATABASE, database_id
from vectorstore.catalog.saved_settings import end_strict_mode
from vectorstore.consistency.deletions import note_deletion_time
from vectorstore.consistency.versions import last_allocated
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.scroll import record_pages
from vectorstore.retention.drop import drop
from vectorstore.retention.unique_vectors import FIELDS, PAGE_SIZE, DiscardLimit, UniqueVectors
from vectorstore.snapshots.archive import Contents, read_complete
from vectorstore.snapshots.downloads import download_folder, require_room
from vectorstore.snapshots.nodes import Node
from vectorstore.snapshots.repository import SECONDS, Snapshot, delete_on, shard_snapshots_of, snapshots_of
from vectorstore.snapshots.temporary import temporary_snapshots
from vectorstore.snapshots.transfer import download
from vectorstore.snapshots.upload import recover_shards, run_with_open_session

REPORT_EVERY = 1000
"""Compared points between two reports."""

log = logging.getLogger("findme.vectorstore.adoption")


@dataclass(frozen=True, slots=True)
class Copy:
    """Where and how long a copy is retained: files are downloaded into a new folder in ``folder``."""

    retain: timedelta
    folder: Path | None = None
    seconds: float = SECONDS


def require_no_other_copy(client: QdrantClient) -> None:
    """Raise UserFacingError if a collection of another program has the name of the copy."""
    name = registry.copy_name()
    if name in collection_names(client) and not registry.rows().filter(name=name).exists():
        raise UserFacingError(
            f"{name!r} exists, and PostgreSQL does not know it: nothing was changed. Check what it is and delete it, or retain no copy with"
            " --retain 0d."
        )


def retain_copy(nodes: Sequence[Node], collection: str, vector: ImportedVector, settings: Copy, report: Report) -> str:
    """Make the copy of ``collection``, compare it, and register it as retained. Return its name. Only under ``collection_lock``.

    An earlier copy is dropped first. After an error the unfinished copy is dropped again, and ``collection`` is unchanged.
    """
    name = registry.copy_name()
    with qdrant() as client:
        require_no_other_copy(client)
        drop_copy(client, nodes)
        registry.reserve(name, "")
    try:
        _copy_points(nodes, collection, name, settings, report)
        found = compare_collections(collection, name, vector, report)
        with qdrant() as client:
            _clean(client, name, collection)
        registry.retain_copy(name, settings.retain)
    except BaseException:
        # If this fails, the row says that the copy is unfinished. The next run drops it.
        with suppress(UserFacingError), qdrant() as client:
            drop_copy(client, nodes)
        raise
    log.info("%s holds a copy of the %s of %s.", name, counted(found.points, "point"), collection)
    if found.other_payloads:
        log.info("Another program changed the payload of %s after the snapshot.", counted(found.other_payloads, "point"))
    return name


def drop_copy(client: QdrantClient, nodes: Sequence[Node]) -> None:
    """Drop the copy, with uploaded files, while the original still exists: no vector is lost then. Only under ``collection_lock``."""
    name = registry.copy_name()
    if registry.rows().filter(name=name).exists():
        delete_snapshots(nodes, name)
        drop(client, [name], DiscardLimit(limit=2**63))


def delete_snapshots(nodes: Sequence[Node], collection: str) -> tuple[Snapshot, ...]:
    """Delete every snapshot of the collection and of its shards on the nodes, and return them.

    After the collection is deleted, Qdrant would keep the files, and no request could list, download or delete them.
    """
    return delete_on(nodes, snapshots_to_delete(nodes, collection))


def snapshots_to_delete(nodes: Sequence[Node], collection: str) -> tuple[Snapshot, ...]:
    return tuple(one for node in nodes for one in (*snapshots_of(node, collection), *shard_snapshots_of(node, collection)))


@dataclass(frozen=True, slots=True)
class Compared:
    """How many points the original has, and how many of them have another payload in the copy."""

    points: int
    other_payloads: int


def compare_collections(original: str, copy: str, compared: ImportedVector, report: Report = ignore_progress) -> Compared:
    """Check that ``copy`` has every point of ``original`` with the same ``compared`` vector, and count those with another payload.

    Another payload is no error: no fence prevents a program from changing payloads after the snapshot. The copy may have points that another program has deleted from the original since, which no fence prevents. Raises UserFacingError at the first
    point that is missing or has another vector.
    """
    points = other_payloads = 0
    copied = _flat(copy, compared)
    key, vector, payload = BEGIN
    for expected, expected_vector, expected_payload in _flat(original, compared):
        while key < expected:
            key, vector, payload = next(copied, END)
        if key != expected or vector != expected_vector:
            raise UserFacingError(
                f"The copy {copy!r} {'has another vector of' if key == expected else 'lacks'} the point {_id(expected)!r}: {original!r} was not"
                " changed. End the programs that write to it, then run the command again."
            )
        points += 1
        other_payloads += payload != expected_payload
        if points % REPORT_EVERY == 0:
            report(points)
    return Compared(points, other_payloads)


Key: TypeAlias = tuple[int, int]
"""Sorts as Qdrant does: points whose id is a number first, then UUIDs by their bytes."""

FlatPoint: TypeAlias = tuple[Key, bytes, dict[str, Any]]
"""The key of a point, the bytes of its vector, and its payload."""

BEGIN: FlatPoint = (-1, -1), b"", {}
END: FlatPoint = (2, 0), b"", {}


def _flat(collection: str, compared: ImportedVector) -> Iterator[FlatPoint]:
    """Yield each point. The vector is not read for a point whose id is a number."""
    for page in compared.pages(collection, whole=True):
        points = page.points()
        yield from (((0, number), b"", payload) for number, payload in zip(points.numbers, page.payloads, strict=False))
        users = zip(points.ids, points.vectors, points.payloads, strict=True)
        yield from (((1, user.int), vector.tobytes(), payload) for user, vector, payload in users)


def _id(key: Key) -> str:
    return str(UUID(int=key[1])) if key[0] else str(key[1])


def _copy_points(nodes: Sequence[Node], collection: str, name: str, settings: Copy, report: Report) -> None:
    """Create the copy from a snapshot of every node. The snapshots and the downloaded files are deleted afterwards."""
    with download_folder(settings.folder) as folder, temporary_snapshots(nodes, collection, folder, seconds=settings.seconds) as made:
        sums = [_download(node, one, folder, report) for node, one in made]
        contents = read_complete([folder / one.name for _, one in made])
        with qdrant() as client:
            files: list[tuple[Contents, str]] = list(zip(contents, sums, strict=True))
            recover_shards(client, nodes, name, files, seconds=settings.seconds, report=report)


def _download(node: Node, one: Snapshot, folder: Path, report: Report) -> str:
    """Download the snapshot into the folder, which is not readable for others, and return its SHA-256."""
    require_room(folder, one.size)
    with atomic_write(folder / one.name, force=False) as file:
        sha256 = run_with_open_session(
            lambda: download(node.address, one.collection, one.name, file, size=one.size, report=ignore_progress)
        )
    report(one.size, one.size)
    if one.sha256 and sha256 != one.sha256:
        raise StoreUnavailable(
            f"The SHA-256 of the downloaded snapshot {one.name!r} is {sha256}, but Qdrant reports {one.sha256}. Run the command again."
        )
    return sha256


def _clean(client: QdrantClient, name: str, original: str) -> None:
    """Make the copy one that every deletion reaches, give it this database's id, and end the strict mode that it has inherited.

    Deletions go by the user's id, and leave points with a higher version. So points whose id is a number are removed, and so are all versions.
    Discarded vectors are removed too.
    """
    end_strict_mode(client, name, original)
    client.update_collection(name, metadata={DATABASE: database_id(), ADOPTED_AT: last_allocated()})
    judge = UniqueVectors(None)
    for page in record_pages(name, PAGE_SIZE, with_payload=FIELDS, with_vectors=False):
        keep_session()
        unreachable = {*judge.among(page), *(record.id for record in page if isinstance(record.id, int))}
        if unreachable:
            note_deletion_time()
            client.delete(name, PointIdsList(points=[*unreachable]), wait=True, ordering=WriteOrdering.MEDIUM)
        versioned = [record.id for record in page if "version" in (record.payload or {}) and record.id not in unreachable]
        if versioned:
            client.delete_payload(name, keys=["version"], points=versioned, wait=True, ordering=WriteOrdering.MEDIUM)
