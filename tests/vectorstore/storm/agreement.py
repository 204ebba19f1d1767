"""Whether Qdrant is what PostgreSQL says: by reading both from end to end, with nothing of the code that is tested but the payload's rules."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import numpy as np

from tests.qdrant import QdrantServer
from tests.vectorstore.payloads import payload_of
from vectorstore.models import ProfileEmbedding


def disagreements(server: QdrantServer, collection: str) -> list[str]:
    """A line for each person whose point is missing, too much, or another one than their rows make."""
    points = _points(server, collection)
    rows = ProfileEmbedding.objects.select_related("user").filter(user__deleted_at__isnull=True, user__is_staff=False)
    expected = {str(row.pk): row for row in rows}
    lines = [
        f"{point_id}: nobody is to have it, version {points[point_id][0].get('version')}" for point_id in points.keys() - expected.keys()
    ]
    lines += [f"{user_id}: has no point" for user_id in expected.keys() - points.keys()]
    for user_id in expected.keys() & points.keys():
        payload, vector = points[user_id]
        row = expected[user_id]
        wanted = np.array(row.vector) / np.linalg.norm(row.vector)
        version = payload.pop("version", None)
        if payload != payload_of(row.user, row):
            lines.append(f"{user_id}: version {version} has the payload {payload}, and is to have {payload_of(row.user, row)}")
        if not np.allclose(vector, wanted, rtol=0, atol=1e-6):
            lines.append(f"{user_id}: version {version} has another vector")
    return lines


def points(server: QdrantServer, collection: str) -> set[UUID]:
    """Return the ids of all points."""
    return {UUID(point_id) for point_id in _points(server, collection)}


def _points(server: QdrantServer, collection: str) -> dict[str, tuple[dict[str, Any], list[float]]]:
    found: dict[str, tuple[dict[str, Any], list[float]]] = {}
    asked: dict[str, Any] = {"limit": 500, "with_payload": True, "with_vector": True}
    with httpx.Client(base_url=server.url, timeout=30) as client:
        while True:
            answer = client.post(f"/collections/{collection}/points/scroll", json=asked).raise_for_status().json()["result"]
            found |= {point["id"]: (point["payload"], point["vector"]) for point in answer["points"]}
            if answer["next_page_offset"] is None:
                return found
            asked["offset"] = answer["next_page_offset"]
