"""Compare all of Qdrant with all of PostgreSQL.

Of the tested code it uses only the rules of the payload.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import numpy as np

from tests.qdrant import QdrantServer
from tests.support.payloads import payload_of
from vectorstore.models import ProfileEmbedding


def disagreements(server: QdrantServer, collection: str) -> list[str]:
    """Return a line for each user whose point is missing, must not exist, or differs from the user's rows."""
    points = _points(server, collection)
    rows = ProfileEmbedding.objects.select_related("user").filter(user__deleted_at__isnull=True, user__is_staff=False)
    expected = {str(row.pk): row for row in rows}
    lines = [f"{point_id}: must not exist, version {points[point_id][0].get('version')}" for point_id in points.keys() - expected.keys()]
    lines += [f"{user_id}: has no point" for user_id in expected.keys() - points.keys()]
    for user_id in expected.keys() & points.keys():
        payload, vector = points[user_id]
        row = expected[user_id]
        expected_vector = np.array(row.vector) / np.linalg.norm(row.vector)
        version = payload.pop("version", None)
        if payload != payload_of(row.user, row):
            lines.append(f"{user_id}: version {version} has the payload {payload} and must have {payload_of(row.user, row)}")
        if not np.allclose(vector, expected_vector, rtol=0, atol=1e-6):
            lines.append(f"{user_id}: version {version} has another vector")
    return lines


def points(server: QdrantServer, collection: str) -> set[UUID]:
    """Return the ids of all points."""
    return {UUID(point_id) for point_id in _points(server, collection)}


def _points(server: QdrantServer, collection: str) -> dict[str, tuple[dict[str, Any], list[float]]]:
    all_points: dict[str, tuple[dict[str, Any], list[float]]] = {}
    request: dict[str, Any] = {"limit": 500, "with_payload": True, "with_vector": True}
    with httpx.Client(base_url=server.url, timeout=30) as client:
        while True:
            answer = client.post(f"/collections/{collection}/points/scroll", json=request).raise_for_status().json()["result"]
            all_points |= {point["id"]: (point["payload"], point["vector"]) for point in answer["points"]}
            if answer["next_page_offset"] is None:
                return all_points
            request["offset"] = answer["next_page_offset"]
