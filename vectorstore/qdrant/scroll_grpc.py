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
from vectorstore.qdrant.address import whole_timeout_seconds
from vectorstore.qdrant.pages import WHOLE, Page, Selection

BYTES = 4 * VECTOR_SIZE
NO_NUMBERS = np.full(VECTOR_SIZE, np.nan, "<f4").tobytes()


def scroll(client: QdrantClient, collection: str, limit: int, offset: Any, selection: Selection = WHOLE) -> tuple[Page, Any]:
    """Return the page at ``offset`` (None: the first) and the offset of the next page (None: there is none)."""
    fields = None if selection.fields is None else qdrant_grpc.PayloadIncludeSelector(fields=selection.fields)
    names = qdrant_grpc.VectorsSelector(names=[selection.vector]) if selection.vector else None
    request = qdrant_grpc.ScrollPoints(
        collection_name=collection,
        limit=limit,
        offset=offset,
        with_payload=qdrant_grpc.WithPayloadSelector(enable=True) if fields is None else qdrant_grpc.WithPayloadSelector(include=fields),
        with_vectors=qdrant_grpc.WithVectorsSelector(enable=True) if names is None else qdrant_grpc.WithVectorsSelector(include=names),
    )
    answer = client.grpc_points.Scroll(request, timeout=whole_timeout_seconds())
    return _page(answer.result, selection.vector), answer.next_page_offset if answer.HasField("next_page_offset") else None


def offset_of(point_id: UUID | int) -> Any:
    """Return the offset of a page that begins with the point."""
    return qdrant_grpc.PointId(num=point_id) if isinstance(point_id, int) else qdrant_grpc.PointId(uuid=str(point_id))


def _page(found: Any, name: str) -> Page:
    vectors, lengths = _vectors([_vector(point.vectors, name) for point in found])
    return Page(
        [UUID(point.id.uuid) if point.id.WhichOneof("point_id_options") == "uuid" else point.id.num for point in found],
        [GrpcToRest.convert_payload(point.payload) for point in found],
        vectors,
        lengths,
    )


def _vector(vectors: Any, name: str) -> Any:
    """Return the message of the vector, None if the point has no vector of this name.

    Next to sparse vectors, which have names, a vector without a name has the empty one.
    """
    return vectors.vectors.vectors.get(name, None) if vectors.HasField("vectors") else vectors.vector


def _vectors(vectors: list[Any]) -> tuple[NDArray[np.float32], list[int]]:
    """Return the vectors as an array of (N, 512), with NaN for a point without a single vector of 512 numbers, and their lengths.

    The bytes are copied as they were received: a message with one packed field ends with its numbers.
    """
    packed, lengths = [], []
    for vector in vectors:
        dense = vector.dense if vector is not None and vector.WhichOneof("vector") == "dense" else vector
        lengths.append(0 if dense is None else len(dense.data))
        packed.append(dense.SerializeToString()[-BYTES:] if lengths[-1] == VECTOR_SIZE else NO_NUMBERS)
    return np.frombuffer(b"".join(packed), "<f4").reshape(len(vectors), VECTOR_SIZE), lengths
