"""Points by gRPC as numpy has them: qdrant-client would make a Python number of every number of every vector, and check each."""

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
    """A page after OFFSET (None: the first), and the next one's (None: there is none)."""
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
    of_people = [point for point in found if point.id.WhichOneof("point_id_options") == "uuid"]
    return Points(
        [UUID(point.id.uuid) for point in of_people],
        [GrpcToRest.convert_payload(point.payload) for point in of_people],
        _vectors([point.vectors.vector for point in of_people]),
        [point.id.num for point in found if point.id.WhichOneof("point_id_options") == "num"],
    )


def _vectors(vectors: list[Any]) -> NDArray[np.float32]:
    """Packed, as they came: a message of one field ends with its numbers. NaN for what is no single vector of 512 numbers."""
    nothing = np.full(VECTOR_SIZE, np.nan, "<f4").tobytes()
    packed = []
    for vector in vectors:
        dense = vector.dense if vector.WhichOneof("vector") == "dense" else vector
        packed.append(dense.SerializeToString()[-BYTES:] if len(dense.data) == VECTOR_SIZE else nothing)
    return np.frombuffer(b"".join(packed), "<f4").reshape(len(vectors), VECTOR_SIZE)
