"""The vector store keeps the promises of a store, embedded and on a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.qdrant import QdrantServer
from tests.support.stores.http_proxy import HttpProxy
from tests.support.stores.promises import (
    PROMISES,
    Promise,
    keeps_after_a_kill,
    slow__erasure_changes_nothing,
    slow__every_call_is_refused_in_time,
)
from tests.vectorstore.store_harness import DrippingHarness, EmbeddedHarness, GrpcHarness, ServerHarness
from tests.vectorstore.stub_server import StubServer
from vectorstore.schema.initialize import initialize

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def embedded(embedded_qdrant: Path, settings: Settings) -> EmbeddedHarness:
    return EmbeddedHarness(settings)


@pytest.fixture
def stub(embedded_qdrant: Path, settings: Settings) -> Iterator[ServerHarness]:
    initialize()
    server = StubServer(str(embedded_qdrant))
    yield ServerHarness(settings, QdrantServer(server.url), server)
    server.close()


@pytest.fixture
def proxy(running_qdrant: QdrantServer) -> Iterator[HttpProxy]:
    proxy = HttpProxy(running_qdrant.url)
    yield proxy
    proxy.stop()


@pytest.fixture
def server(qdrant_server: QdrantServer, settings: Settings, proxy: HttpProxy) -> ServerHarness:
    initialize()
    return ServerHarness(settings, qdrant_server, proxy)


@pytest.fixture
def dripping(qdrant_server: QdrantServer, settings: Settings, proxy: HttpProxy) -> DrippingHarness:
    initialize()
    return DrippingHarness(settings, qdrant_server, proxy)


@pytest.fixture
def by_grpc(qdrant_server_grpc: QdrantServer, settings: Settings, proxy: HttpProxy) -> GrpcHarness:
    if qdrant_server_grpc.pid is None:
        pytest.skip("the test freezes the server, and did not start the one at QDRANT_URL")
    initialize()
    return GrpcHarness(settings, qdrant_server_grpc, proxy)


every_promise = pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)


@every_promise
def test_embedded__keeps(promise: Promise, embedded: EmbeddedHarness) -> None:
    promise(embedded)


@pytest.mark.at_length(every=7)
@pytest.mark.parametrize("nth", range(EmbeddedHarness.kills + 1))
def test_embedded__killed(nth: int, embedded: EmbeddedHarness) -> None:
    keeps_after_a_kill(embedded, nth)


@pytest.mark.at_length(every=3)
@every_promise
def test_stub__keeps(promise: Promise, stub: ServerHarness) -> None:
    promise(stub)


@pytest.mark.at_length
@pytest.mark.parametrize("nth", range(ServerHarness.kills + 1))
def test_stub__killed(nth: int, stub: ServerHarness) -> None:
    keeps_after_a_kill(stub, nth)


@pytest.mark.qdrant_server
@every_promise
def test_server__keeps(promise: Promise, server: ServerHarness) -> None:
    promise(server)


@pytest.mark.qdrant_server
@pytest.mark.at_length(every=5)
@pytest.mark.parametrize("nth", range(ServerHarness.kills + 1))
def test_server__killed(nth: int, server: ServerHarness) -> None:
    keeps_after_a_kill(server, nth)


@pytest.mark.qdrant_server
@pytest.mark.parametrize("promise", [slow__every_call_is_refused_in_time, slow__erasure_changes_nothing])
def test_server__dripping__keeps(promise: Promise, dripping: DrippingHarness) -> None:
    promise(dripping)


@pytest.mark.qdrant_server
@every_promise
def test_server__by_grpc__keeps(promise: Promise, by_grpc: GrpcHarness) -> None:
    promise(by_grpc)
