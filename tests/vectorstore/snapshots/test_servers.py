"""Snapshots on servers with a key and TLS, and on a frozen server."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from pytest_django import Settings

from findme.core.errors import StoreUnavailable
from tests.factories import ProfileEmbeddingFactory
from tests.qdrant import QdrantServer, freeze, started_qdrant, thaw
from tests.support.stubs import TLS_FOLDER
from vectorstore.purge.purge import purge
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.snapshots.repository import create, fetch, list_snapshots
from vectorstore.snapshots.restore import restore
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]


def use(server: QdrantServer, settings: Settings) -> None:
    settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, server.api_key, 0
    settings.QDRANT_COLLECTION, settings.QDRANT_TIMEOUT = "users", 5


def test_snapshots__server_with_key_and_tls__work(
    memory_path: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS_FOLDER / "cert.pem"))
    tls = {"SERVICE__ENABLE_TLS": "true", "TLS__CERT": str(TLS_FOLDER / "cert.pem"), "TLS__KEY": str(TLS_FOLDER / "key.pem")}
    with started_qdrant(memory_path, SERVICE__API_KEY="a-key-of-ours", **tls) as server:
        use(server, settings)
        initialize()
        ProfileEmbeddingFactory.create_batch(3)
        sync_once()
        (one,) = create()
        path = fetch(one.name, tmp_path).path
        assert restore([path]).found == 3
        assert purge(snapshots=True).collections[0].remaining == 0
        settings.QDRANT_API_KEY = "another"
        with pytest.raises(StoreUnavailable, match="does not accept the key in QDRANT_API_KEY") as raised:
            list_snapshots()
        assert "another" not in str(raised.value)


def test_create__frozen_server__stops_at_the_timeout_and_can_run_again(memory_path: Path, tmp_path: Path, settings: Settings) -> None:
    with started_qdrant(memory_path) as server:
        use(server, settings)
        initialize()
        ProfileEmbeddingFactory.create_batch(3)
        sync_once()
        (one,) = create()
        path = fetch(one.name, tmp_path).path
        line = rf"^Qdrant at '{re.escape(server.url)}' did not answer within 1 s\. Check that it runs, read its log, and increase --wait\.$"

        def report(done: int, total: int | None = None, /) -> None:
            """Freeze the server at the first report, after all requests that come before the creation."""
            if not frozen.is_set():
                frozen.set()
                freeze(server)

        frozen = threading.Event()
        with pytest.raises(StoreUnavailable, match=line):
            create(seconds=1, report=report)
        thaw(server)
        with qdrant() as client:
            assert client.count(collection_name(), exact=True).count == 3
        assert restore([path]).found == 3
