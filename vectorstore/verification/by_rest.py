"""Points by REST as JSON has them: qdrant-client would check each number of each vector."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from qdrant_client import QdrantClient

from vectorstore.verification.points import Points, vectors_of


def scroll(client: QdrantClient, collection: str, limit: int, offset: Any) -> tuple[Points, Any]:
    """A page after OFFSET (None: the first), and the next one's (None: there is none). Not compressed: of numbers that costs more than it saves."""
    answer: dict[str, Any] = client.http.client.request(
        type_=dict[str, Any],
        method="POST",
        url="/collections/{collection_name}/points/scroll",
        path_params={"collection_name": collection},
        headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
        content=json.dumps({"limit": limit, "offset": offset, "with_payload": True, "with_vector": True}),
    )
    found: list[dict[str, Any]] = answer["result"]["points"]
    of_people = [point for point in found if isinstance(point["id"], str)]
    points = Points(
        [UUID(point["id"]) for point in of_people],
        [point.get("payload") or {} for point in of_people],
        vectors_of([point.get("vector") for point in of_people]),
        [point["id"] for point in found if isinstance(point["id"], int)],
    )
    return points, answer["result"]["next_page_offset"]
