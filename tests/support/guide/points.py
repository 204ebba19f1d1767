"""The migration guide's collection and points: by qdrant-client, as the guide's Go program makes them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from qdrant_client import QdrantClient, models

from accounts.age import age_group, age_on, today
from tests.support.guide.rows import Session
from tests.support.vectors import CITIES, unit_vector

COLLECTION = "profile_embeddings"

INDEXES = {
    "gender": models.PayloadSchemaType.KEYWORD,
    "age": models.PayloadSchemaType.INTEGER,
    "age_group": models.PayloadSchemaType.KEYWORD,
    "active": models.PayloadSchemaType.BOOL,
    "verified": models.PayloadSchemaType.BOOL,
    "location": models.PayloadSchemaType.GEO,
}
"""The guide's indexes, in the order in which its program creates them."""


@dataclass(frozen=True)
class Point:
    """The arguments of the guide's ``InsertProfileEmbedding``. A vector of length 1 is stored by Qdrant as it is."""

    user_id: UUID
    embedding: list[float]
    payload: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"user_id": str(self.user_id), "embedding": self.embedding, "payload": self.payload}


def create_collection(client: QdrantClient, name: str = COLLECTION) -> None:
    """Do what the guide's ``InitQdrantCollections`` does."""
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=10000),
        hnsw_config=models.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=10000),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Payload indexes have no effect")  # in the embedded store
        for field, kind in INDEXES.items():
            client.create_payload_index(name, field, kind)


def insert(client: QdrantClient, points: Iterable[Point], name: str = COLLECTION) -> None:
    """Do what the guide's ``InsertProfileEmbedding`` does, for each point."""
    for point in points:
        client.upsert(name, [models.PointStruct(id=str(point.user_id), vector=point.embedding, payload=point.payload)])


def points_of(session: Session, user_ids: Iterable[UUID], first_seed: int = 0) -> list[Point]:
    """Return a point for each of these users, with the payload that their rows give."""
    rows = session.execute("SELECT id, gender, date_of_birth, active, verified, created_at FROM users").fetchall()
    names = ("gender", "date_of_birth", "active", "verified", "created_at")
    profiles = {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}
    return [
        Point(user_id, unit_vector(seed), payload_of(user_id, profiles[user_id], seed)) for seed, user_id in enumerate(user_ids, first_seed)
    ]


def payload_of(user_id: UUID, profile: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the payload with the fields of the guide's ``payload_schema``."""
    age = age_on(profile["date_of_birth"], today())
    lat, lon = CITIES[seed % len(CITIES)]
    return {
        "user_id": str(user_id),
        "gender": profile["gender"],
        "age": age,
        "age_group": age_group(age),
        "location": {"lat": lat, "lon": lon},
        "interests": ["books", "hiking"] if seed % 2 else ["coffee"],
        "active": profile["active"],
        "verified": profile["verified"],
        "created_at": profile["created_at"].isoformat(),
        "video_features": [0.25, 0.5, seed / 8],
    }
