"""Points by gRPC as numpy arrays. qdrant-client would convert and check each number of each vector in Python."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient
from qdrant_client import grpc as qdrant_grpc
from qdrant_client.conversions.conversion import GrpcToRest

from vectorstore.models import VECTOR_SIZE
from vectorstore.qdrant.address import server_address
from vectorstore.qdrant.pages import Points

BYTES = 4 * VECTOR_SIZE


def scroll(client: QdrantClient, collection: str, limit: int, offset: Any) -> tuple[Points, Any]:
    """Return the page at ``offset`` (None: the first) and the offset of the next page (None: there is none)."""
    request = qdrant_grpc.ScrollPoints(
        collection_name=collection,
        limit=limit,
        offset=offset,
        with_payload=qdrant_grpc.WithPayloadSelector(enable=True),
        with_vectors=qdrant_grpc.WithVectorsSelector(enable=True),
    )
    answer = client.grpc_points.Scroll(request, timeout=server_address().timeout)
    return _points(answer.result), answer.next_page_offset if answer.HasField("next_page_offset") else None


def _points(found: Any) -> Points:
    of_users = [point for point in found if point.id.WhichOneof("point_id_options") == "uuid"]
    return Points(
        [UUID(point.id.uuid) for point in of_users],
        [GrpcToRest.convert_payload(point.payload) for point in of_users],
        _vectors([point.vectors.vector for point in of_users]),
        [point.id.num for point in found if point.id.WhichOneof("point_id_options") == "num"],
    )


def _vectors(vectors: list[Any]) -> NDArray[np.float32]:
    """Return the vectors as an array of (N, 512), with NaN for a point without a single vector of 512 numbers.

    The bytes are copied as they were received: a message with one packed field ends with its numbers.
    """
    nothing = np.full(VECTOR_SIZE, np.nan, "<f4").tobytes()
    packed = []
    for vector in vectors:
        dense = vector.dense if vector.WhichOneof("vector") == "dense" else vector
        packed.append(dense.SerializeToString()[-BYTES:] if len(dense.data) == VECTOR_SIZE else nothing)
    return np.frombuffer(b"".join(packed), "<f4").reshape(len(vectors), VECTOR_SIZE)
