"""A point that is sent, as REST and as gRPC have it: qdrant-client would look at each number of each vector by itself, half of the time of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import grpc
from qdrant_client.models import PointStruct

from vectorstore.models import VECTOR_SIZE

PACKED = 4 * VECTOR_SIZE
"""Bytes of a vector's numbers in a message: little-endian float32, one after the other."""
BEFORE_NUMBERS = grpc.Vectors(vector=grpc.Vector(dense=grpc.DenseVector(data=[0.0] * VECTOR_SIZE))).SerializeToString()[:-PACKED]
"""What stands before them: a message of one field ends with its numbers."""


@dataclass(frozen=True, slots=True)
class Point:
    """``id`` is a UUID as text; ``vector`` (512) has length 1; ``payload`` is of what JSON has."""

    id: str
    vector: NDArray[np.float64]
    payload: dict[str, Any]

    def as_rest(self) -> PointStruct:
        """Of checked numbers, which pydantic would check again."""
        return PointStruct.model_construct(id=self.id, vector=self.vector.tolist(), payload=self.payload)

    def put_into(self, message: grpc.PointStruct) -> None:
        """Into an empty one, field by field: a message that is made of others copies them. Raises TypeError for what JSON has not."""
        message.id.uuid = self.id
        message.vectors.MergeFromString(BEFORE_NUMBERS + self.vector.astype("<f4").tobytes())
        for name, value in self.payload.items():
            _put(value, message.payload[name])


def _put(value: object, message: grpc.Value) -> None:
    match value:
        case str():
            message.string_value = value
        case bool():
            message.bool_value = value
        case int():
            message.integer_value = value
        case float():
            message.double_value = value
        case None:
            message.null_value = grpc.NULL_VALUE
        case list():
            message.list_value.SetInParent()
            for inner in value:
                _put(inner, message.list_value.values.add())
        case dict():
            message.struct_value.SetInParent()
            for name, inner in value.items():
                _put(inner, message.struct_value.fields[name])
        case _:
            raise TypeError(f"{value!r} cannot stand in a payload")
