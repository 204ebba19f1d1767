"""Make Qdrant what PostgreSQL says, for everyone: mends a change by plain SQL, an outage, a lost collection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from uuid import UUID

import numpy as np
from django.db.models import QuerySet
from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, PointStruct, Record

from findme.console.progress import Report, unreported
from vectorstore.collection import live_collection
from vectorstore.connection import qdrant
from vectorstore.models import ProfileEmbedding
from vectorstore.projection import BATCH_SIZE, Projected, delete_points, entitled, point_from, project, with_payload

PAGE_SIZE = 1000
"""Ids of points that are read at a time."""

TOLERANCE = 1e-6
"""Of one number of a vector of length 1: more than 32 bits round, and less than a search can tell apart."""


@dataclass(frozen=True, slots=True)
class Synced:
    """Of everyone who is to have a point: how many had the right one (``unchanged``), and how many were ``written``. ``removed`` are the points
    that nobody is to have."""

    unchanged: int = 0
    written: int = 0
    removed: int = 0

    def __add__(self, other: Synced) -> Synced:
        return Synced(self.unchanged + other.unchanged, self.written + other.written, self.removed + other.removed)


def sync_everyone(*, batch_size: int = BATCH_SIZE, dry_run: bool = False, report: Report = unreported) -> Synced:
    """Compare every point with the rows that it follows from and write those that differ; then remove the points that nobody is to have.

    In constant memory, the store held for one batch at a time. Whoever is written or removed is read again under their lock (``project``), so
    it runs beside writers; killed, the next run goes on. With DRY_RUN it counts what it would do. Raises StoreUnavailable.
    """
    synced, done, total = Synced(), 0, _total()
    for step, seen in chain(_people(batch_size, dry_run=dry_run), _points(dry_run=dry_run)):
        synced += step
        done += seen
        report(min(done, total), total)
    return synced


def _total() -> int:
    """People and points, roughly: others write meanwhile."""
    with qdrant() as client:
        return entitled().count() + client.count(live_collection(client), exact=False).count


def _people(batch_size: int, *, dry_run: bool) -> Iterator[tuple[Synced, int]]:
    """Everyone who is to have a point, in the order of their ids."""
    rows = _rows(batch_size, entitled())
    while rows:
        with qdrant() as client:
            differing = _differing(client, rows)
            projected = Projected(written=len(differing)) if dry_run else project(differing)
        yield Synced(len(rows) - len(differing), projected.written, projected.removed), len(rows)
        rows = _rows(batch_size, entitled().filter(pk__gt=rows[-1].pk))


def _rows(batch_size: int, rows: QuerySet[ProfileEmbedding]) -> list[ProfileEmbedding]:
    return list(with_payload(rows.order_by("pk"))[:batch_size])


def _differing(client: QdrantClient, rows: list[ProfileEmbedding]) -> list[UUID]:
    """Those whose point is missing, or another one than their row makes. Rewriting what is right would make Qdrant build graphs for nothing."""
    expected = {str(row.pk): point_from(row) for row in rows}
    records = client.retrieve(live_collection(client), list(expected), with_payload=True, with_vectors=True)
    right = {str(record.id) for record in records if _is(record, expected[str(record.id)])}
    return [row.pk for row in rows if str(row.pk) not in right]


def _is(record: Record, point: PointStruct) -> bool:
    return record.payload == point.payload and _are_close(record.vector, point.vector)


def _are_close(vector: object, expected: object) -> bool:
    """NaN is close to nothing, so a vector that was spoilt is another one."""
    if not isinstance(vector, list) or not isinstance(expected, list) or len(vector) != len(expected):
        return False
    return bool(np.allclose(np.array(vector), np.array(expected), rtol=0, atol=TOLERANCE))


def _points(*, dry_run: bool) -> Iterator[tuple[Synced, int]]:
    """Every point there is, in the order of their ids."""
    offset = None
    while True:
        with qdrant() as client:
            collection = live_collection(client)
            page, offset = client.scroll(collection, limit=PAGE_SIZE, offset=offset, with_payload=False, with_vectors=False)
            step = _without_strangers(client, collection, [record.id for record in page], dry_run=dry_run)
        yield step, len(page)
        if offset is None:
            return


def _without_strangers(client: QdrantClient, collection: str, ids: list[ExtendedPointId], *, dry_run: bool) -> Synced:
    """Points of nobody go under the lock of whom they are of, since that one may be coming back just now; a number is nobody's id."""
    people = {UUID(point_id) for point_id in ids if isinstance(point_id, str)}
    numbers = [point_id for point_id in ids if not isinstance(point_id, str)]
    strangers = people - set(entitled().filter(pk__in=people).values_list("pk", flat=True))
    if dry_run:
        return Synced(removed=len(strangers) + len(numbers))
    projected = project(sorted(strangers))
    return Synced(written=projected.written, removed=projected.removed + (delete_points(client, collection, numbers) if numbers else 0))
