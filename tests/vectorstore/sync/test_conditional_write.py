"""The gRPC message equals the one of qdrant-client for every payload."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

from tests.factories import unit_vector
from vectorstore.qdrant.write import Point, request

ID = "4b6e9b3c-0f8e-4a53-9d3f-0a1b2c3d4e5f"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def client_message(point: Point, version: int) -> grpc.UpsertPoints:
    newer = models.FieldCondition(key="version", range=models.Range(gte=version))
    return grpc.UpsertPoints(
        collection_name="users_v1",
        wait=True,
        points=[RestToGrpc.convert_point_struct(point.as_rest())],
        update_filter=RestToGrpc.convert_filter(models.Filter(must_not=[newer])),
        ordering=RestToGrpc.convert_write_ordering(models.WriteOrdering.MEDIUM),
    )


def without_vectors(message: grpc.UpsertPoints) -> tuple[list[list[float]], bytes]:
    """Return the vectors, and the message without them.

    The client writes a dense vector also to the field that older servers read.
    """
    numbers = []
    for point in message.points:
        vector = point.vectors.vector
        numbers.append([*(vector.dense.data if vector.WhichOneof("vector") == "dense" else vector.data)])
        point.ClearField("vectors")
    return numbers, message.SerializeToString(deterministic=True)


@given(st.dictionaries(st.text(max_size=10), JSON, max_size=5), st.integers(0, 2**53), st.integers(0, 2**32))
def test_request__equals_the_message_of_the_client(payload: dict[str, Any], version: int, seed: int) -> None:
    vector = np.random.default_rng(seed).standard_normal(512)
    point = Point(ID, vector / np.linalg.norm(vector), payload)
    assert without_vectors(request("users_v1", [point], version)) == without_vectors(client_message(point, version))


def test_request__sends_32_bits_per_number() -> None:
    vector = np.array(unit_vector(1), np.float64)
    (sent,) = request("users_v1", [Point(ID, vector, {})], 7).points
    assert list(sent.vectors.vector.dense.data) == vector.astype(np.float32).tolist()
    assert math.isclose(sum(number**2 for number in sent.vectors.vector.dense.data), 1, rel_tol=1e-6)


def test_request__payload_that_is_not_json__fails() -> None:
    with pytest.raises(TypeError, match="cannot be stored in a payload"):
        request("users_v1", [Point(ID, np.zeros(512), {"at": object()})], 7)
