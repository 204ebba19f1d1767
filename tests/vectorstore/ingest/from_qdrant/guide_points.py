"""A collection as the program of the guide makes and fills it, and its import."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from django.db import connection
from qdrant_client import models

from accounts.age import age_group, age_on, today
from accounts.models import User
from tests.factories import unit_vector
from vectorstore.ingest.from_qdrant import run
from vectorstore.ingest.from_qdrant.results import Imported
from vectorstore.ingest.from_qdrant.source import address_from, checked_source
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import collection_name, qdrant

COSINE = models.VectorParams(size=512, distance=models.Distance.COSINE)
BERLIN = {"lat": 52.52, "lon": 13.405}


def guide() -> str:
    """Return the name of the collection. The tests' server deletes it afterwards."""
    return f"{collection_name()}_guide"


def payload(user: User, **changes: Any) -> dict[str, Any]:
    """Return the guide's payload of a user. A change to None leaves the field out."""
    age = age_on(user.date_of_birth, today())
    fields = {
        "user_id": str(user.pk),
        "gender": user.gender,
        "age": age,
        "age_group": age_group(age),
        "location": BERLIN,
        "interests": ["books", "sea"],
        "active": user.active,
        "verified": user.verified,
        "created_at": "2026-01-01T00:00:00Z",
        "video_features": [0.25, -1.5],
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


def point(user: User, seed: int = 1, **changes: Any) -> models.PointStruct:
    """Return a point as the guide's services write it, with a vector that is not normalized."""
    return models.PointStruct(id=str(user.pk), vector=vector(seed), payload=payload(user, **changes))


def vector(seed: int) -> list[float]:
    """Return a vector of length 3 that depends on ``seed``."""
    return [3 * number for number in unit_vector(seed)]


def create(points: Iterable[models.PointStruct] = (), name: str = "", **options: Any) -> None:
    with qdrant() as client:
        client.create_collection(name or guide(), **({"vectors_config": COSINE} | options))
    write(points, name)


def write(points: Iterable[models.PointStruct], name: str = "") -> None:
    if written := list(points):
        with qdrant() as client:
            client.upsert(name or guide(), written, wait=True)


def import_all(name: str = "", *, vector: str | None = None, **options: Any) -> Imported:
    """Import the collection of this test's store."""
    return run.import_embeddings(checked_source(address_from(None, None, None), name or guide(), vector), **options)


def received(name: str = "", **options: Any) -> dict[str, Any]:
    """Return the vectors of the points as Qdrant returns them, by id."""
    with qdrant() as client:
        records = client.scroll(name or guide(), limit=10_000, with_vectors=True, **options)[0]
    return {str(record.id): record.vector for record in records}


def stored() -> dict[UUID, ProfileEmbedding]:
    return {row.pk: row for row in ProfileEmbedding.objects.all()}


def bits(numbers: Any) -> bytes:
    """Return the 32-bit numbers as bytes."""
    return np.array(numbers, np.float32).tobytes()


def row_versions() -> dict[UUID, tuple[str, str]]:
    """Return the transaction that wrote each row, and its place. Every UPDATE changes both."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT user_id, xmin::text, ctid::text FROM profile_embeddings")
        return {user_id: (xmin, ctid) for user_id, xmin, ctid in cursor.fetchall()}


def queued() -> set[UUID]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT user_id FROM vector_sync_queue")
        return {user_id for (user_id,) in cursor.fetchall()}


def forget_queue() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM vector_sync_queue")


def rejects(path: Path) -> dict[str, str]:
    """Return the reasons in a rejects file by the id of the point."""
    lines: list[Mapping[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    return {str(line["row"]["user_id"]): line["reason"] for line in lines}


def digest_of_collection(name: str = "") -> str:
    """Return a hash of all points, of the settings and of the aliases of a collection."""
    with qdrant() as client:
        records = client.scroll(name or guide(), limit=10_000, with_vectors=True, with_payload=True)[0]
        aliases = sorted((alias.alias_name, alias.collection_name) for alias in client.get_aliases().aliases)
        names = sorted(collection.name for collection in client.get_collections().collections)
        found = [
            *(record.model_dump(mode="json") for record in records),
            client.get_collection(name or guide()).config.model_dump(mode="json"),
        ]
    return hashlib.sha256(json.dumps([found, aliases, names], default=str, sort_keys=True).encode()).hexdigest()
