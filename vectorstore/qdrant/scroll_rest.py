"""Points by REST from plain JSON. qdrant-client would check each number of each vector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from qdrant_client import QdrantClient

from vectorstore.qdrant.pages import Points, vectors_of


def scroll(client: QdrantClient, collection: str, limit: int, offset: Any) -> tuple[Points, Any]:
    """Return the page at ``offset`` (None: the first) and the offset of the next page (None: there is none)."""
    result = _post(client, collection, "points/scroll", {"limit": limit, "offset": offset, "with_payload": True, "with_vector": True})
    return _points(result["points"]), result["next_page_offset"]


def retrieve(client: QdrantClient, collection: str, ids: Sequence[str]) -> Points:
    """Return the existing points among ``ids``.

    Qdrant sends a vector with a NaN as ``null``, which qdrant-client rejects as an invalid answer.
    """
    return _points(_post(client, collection, "points", {"ids": list(ids), "with_payload": True, "with_vector": True}))


def _post(client: QdrantClient, collection: str, path: str, body: dict[str, Any]) -> Any:
    answer: dict[str, Any] = client.http.client.request(
        type_=dict[str, Any],
        method="POST",
        url=f"/collections/{{collection_name}}/{path}",
        path_params={"collection_name": collection},
        # Not compressed: for numbers, compression costs more time than it saves.
        headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
        content=json.dumps(body),
    )
    return answer["result"]


def _points(found: list[dict[str, Any]]) -> Points:
    of_users = [point for point in found if isinstance(point["id"], str)]
    return Points(
        [UUID(point["id"]) for point in of_users],
        [point.get("payload") or {} for point in of_users],
        vectors_of([point.get("vector") for point in of_users]),
        [point["id"] for point in found if isinstance(point["id"], int)],
    )
