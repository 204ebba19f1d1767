"""Points by REST as JSON has them: qdrant-client would check each number of each vector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from qdrant_client import QdrantClient

from vectorstore.qdrant.pages import Points, vectors_of


def scroll(client: QdrantClient, collection: str, limit: int, offset: Any) -> tuple[Points, Any]:
    """A page after OFFSET (None: the first), and the next one's (None: there is none). Not compressed: of numbers that costs more than it saves."""
    result = _asked(client, collection, "points/scroll", {"limit": limit, "offset": offset, "with_payload": True, "with_vector": True})
    return _points(result["points"]), result["next_page_offset"]


def retrieve(client: QdrantClient, collection: str, ids: Sequence[str]) -> Points:
    """Those of IDS that are there. A vector with a NaN comes as ``null``, which qdrant-client takes for an answer of no Qdrant."""
    return _points(_asked(client, collection, "points", {"ids": list(ids), "with_payload": True, "with_vector": True}))


def _asked(client: QdrantClient, collection: str, what: str, question: dict[str, Any]) -> Any:
    answer: dict[str, Any] = client.http.client.request(
        type_=dict[str, Any],
        method="POST",
        url=f"/collections/{{collection_name}}/{what}",
        path_params={"collection_name": collection},
        headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
        content=json.dumps(question),
    )
    return answer["result"]


def _points(found: list[dict[str, Any]]) -> Points:
    of_people = [point for point in found if isinstance(point["id"], str)]
    return Points(
        [UUID(point["id"]) for point in of_people],
        [point.get("payload") or {} for point in of_people],
        vectors_of([point.get("vector") for point in of_people]),
        [point["id"] for point in found if isinstance(point["id"], int)],
    )
