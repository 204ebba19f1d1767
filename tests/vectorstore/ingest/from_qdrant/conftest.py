"""Fixtures of the tests of importing."""

from __future__ import annotations

import pytest

from tests.qdrant import program


@pytest.fixture
def every_store_in_turn(request: pytest.FixtureRequest) -> str:
    """The embedded store for every third seed of a test, and without a server for all. The others use the server by REST and by gRPC."""
    kinds = ("embedded_qdrant", "qdrant_server_grpc", "qdrant_server")
    seed: int = request.getfixturevalue("seed")
    kind = kinds[seed % len(kinds)] if program() else kinds[0]
    request.getfixturevalue(kind)
    return kind
