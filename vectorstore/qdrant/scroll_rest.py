"""Points by REST from plain JSON. qdrant-client would check each number of each vector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from qdrant_client import QdrantClient

from vectorstore.qdrant.pages import WHOLE, Page, Points, Selection, page_of, vector_named


def scroll(client: QdrantClient, collection: str, limit: int, offset: Any, selection: Selection = WHOLE) -> tuple[Page, Any]:
    """Return the page at ``offset`` (None: the first) and the offset of the next page (None: there is none)."""
    with_payload = True if selection.fields is None else list(selection.fields)
    with_vector = [selection.vector] if selection.vector else True
    body = {"limit": limit, "offset": offset, "with_payload": with_payload, "with_vector": with_vector}
    result = _post(client, collection, "points/scroll", body)
    return _page(result["points"], selection.vector), result["next_page_offset"]


def retrieve(client: QdrantClient, collection: str, ids: Sequence[str]) -> Points:
    """Return the existing points among ``ids``.

    Qdrant sends a vector with a NaN as ``null``, which qdrant-client rejects as an invalid answer.
    """
    return _page(_post(client, collection, "points", {"ids": list(ids), "with_payload": True, "with_vector": True}), "").points()


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


def _page(found: list[dict[str, Any]], name: str) -> Page:
    return page_of(
        [UUID(point["id"]) if isinstance(point["id"], str) else point["id"] for point in found],
        [point.get("payload") or {} for point in found],
        [vector_named(name, point.get("vector")) for point in found],
    )
