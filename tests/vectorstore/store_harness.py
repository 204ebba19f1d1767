"""What the promises of a store need to know about the vector store, embedded and on a server."""

from __future__ import annotations

import shutil
import sqlite3
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from accounts.models import User
from privacy.registry import registry
from tests.factories import ProfileEmbeddingFactory, unit_vector
from tests.qdrant import QdrantServer, free_port, freeze, thaw
from tests.support.stores.harness import StoreHarness
from tests.support.stores.http_proxy import Answer, Forward, HttpProxy, Request, confirmed
from tests.vectorstore.qdrant.holder import holding
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import sync_users
from vectorstore.sync.worker import Worker

CONFIRMED = models.UpdateResult(operation_id=1, status=models.UpdateStatus.COMPLETED)


class VectorStoreHarness(StoreHarness):
    kill_at = tuple(
        f"qdrant_client:QdrantClient.{name}"
        for name in ("get_aliases", "retrieve", "scroll", "query_points", "delete", "update_collection")
    )

    def __init__(self, settings: Settings) -> None:
        (self.store,) = registry.stores
        settings.QDRANT_TIMEOUT = 1

    @property
    def collection(self) -> str:
        return f"{collection_name()}_v1"

    def put(self, user_id: UUID) -> None:
        ProfileEmbeddingFactory.create(user=User.objects.get(pk=user_id))
        sync_users([user_id])

    def put_under_another_key(self, user_id: UUID) -> None:
        point = models.PointStruct(id=str(uuid4()), vector=unit_vector(1), payload={"user_id": str(user_id)})
        with qdrant() as client:
            client.upsert(self.collection, [point], wait=True)

    @abstractmethod
    def has(self, user_id: UUID) -> bool: ...

    def lying(self) -> AbstractContextManager[object]:
        return self._answering(delete=lambda *_arguments, **_options: CONFIRMED)

    def hiding(self) -> AbstractContextManager[object]:
        return self._answering(delete=lambda *_arguments, **_options: CONFIRMED, retrieve=lambda *_arguments, **_options: [])

    def work(self) -> None:
        worker = Worker()
        while worker.step():
            pass

    @contextmanager
    def _answering(self, **methods: Callable[..., Any]) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patched:
            for name, method in methods.items():
                patched.setattr(QdrantClient, name, method)
            yield


class EmbeddedHarness(VectorStoreHarness):
    kills = 12

    def __init__(self, settings: Settings) -> None:
        initialize()
        super().__init__(settings)
        settings.QDRANT_TIMEOUT = 0.3
        self.path = Path(settings.QDRANT_PATH)
        self.away = self.path.with_name("away")

    def has(self, user_id: UUID) -> bool:
        """Search the bytes of the collection's rows."""
        with closing(self._file()) as file:
            return any(str(user_id).encode() in point for (point,) in file.execute("SELECT point FROM points"))

    @contextmanager
    def absent(self) -> Iterator[None]:
        self.path.rename(self.away)
        try:
            yield
        finally:
            shutil.rmtree(self.path)
            self.away.rename(self.path)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Put a file in the place of the folder."""
        self.path.rename(self.away)
        self.path.touch()
        try:
            yield
        finally:
            self.path.unlink()
            self.away.rename(self.path)

    def slow(self) -> AbstractContextManager[object]:
        return holding(self.path)

    @contextmanager
    def failing_in_session(self) -> Iterator[None]:
        """Let another program lock the file of the collection, for which SQLite would wait five seconds."""
        with qdrant() as client:
            client._client.collections[self.collection].storage.storage.execute("PRAGMA busy_timeout = 100")  # type: ignore[attr-defined]
        with closing(self._file()) as file:
            file.execute("BEGIN EXCLUSIVE")
            yield

    def _file(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path / "collection" / self.collection / "storage.sqlite")


class ServerHarness(VectorStoreHarness):
    """A server behind a proxy."""

    kills = 12

    def __init__(self, settings: Settings, server: QdrantServer, proxy: HttpProxy) -> None:
        """The collection exists."""
        self.server, self.proxy, self.settings = server, proxy, settings
        settings.QDRANT_URL = proxy.url
        super().__init__(settings)

    def has(self, user_id: UUID) -> bool:
        """Search the text of all points, which the server sends without the proxy."""
        return str(user_id) in self._ask("POST", f"/collections/{self.collection}/points/scroll", {"limit": 1000})

    @contextmanager
    def absent(self) -> Iterator[None]:
        """Delete the alias."""
        alias = {"alias_name": collection_name()}
        self._ask("POST", "/collections/aliases", {"actions": [{"delete_alias": alias}]})
        try:
            yield
        finally:
            create = {**alias, "collection_name": self.collection}
            self._ask("POST", "/collections/aliases", {"actions": [{"create_alias": create}]})

    def down(self) -> AbstractContextManager[object]:
        return self.proxy.stopped()

    def slow(self) -> AbstractContextManager[object]:
        return self.proxy.following(lambda _request, _forward: None)

    def failing_in_session(self) -> AbstractContextManager[object]:
        """Make the deletion and do not confirm it. Afterwards nothing answers."""
        deleted: list[bool] = []

        def rule(request: Request, forward: Forward) -> Answer | None:
            if is_deletion(request):
                forward(request)
                deleted.append(True)
            return None if deleted else forward(request)

        return self.proxy.following(rule)

    def lying(self) -> AbstractContextManager[object]:
        return self.proxy.following(lambda request, forward: CONFIRMED_BY_REST if is_deletion(request) else forward(request))

    def hiding(self) -> AbstractContextManager[object]:
        def rule(request: Request, forward: Forward) -> Answer:
            if is_deletion(request):
                return CONFIRMED_BY_REST
            return confirmed([]) if request.path.partition("?")[0].endswith("/points") else forward(request)

        return self.proxy.following(rule)

    def _ask(self, method: str, path: str, body: object) -> str:
        headers = {"api-key": self.server.api_key} if self.server.api_key else {}
        return httpx.request(method, f"{self.server.url}{path}", json=body, headers=headers, timeout=30).raise_for_status().text


CONFIRMED_BY_REST = confirmed({"operation_id": 1, "status": "completed"})


def is_deletion(request: Request) -> bool:
    return request.path.partition("?")[0].endswith("/points/delete")


class DrippingHarness(ServerHarness):
    """Its slow server sends each answer byte by byte. No single read takes as long as the timeout."""

    def slow(self) -> AbstractContextManager[object]:
        return self.proxy.following(lambda request, forward: replace(forward(request), drips=True))


class GrpcHarness(ServerHarness):
    """A server by gRPC. Its slow server is frozen."""

    def __init__(self, settings: Settings, server: QdrantServer, proxy: HttpProxy) -> None:
        settings.QDRANT_GRPC_PORT = server.grpc_port
        super().__init__(settings, server, proxy)

    @contextmanager
    def down(self) -> Iterator[None]:
        port, self.settings.QDRANT_GRPC_PORT = self.settings.QDRANT_GRPC_PORT, free_port()
        try:
            with super().down():
                yield
        finally:
            self.settings.QDRANT_GRPC_PORT = port

    @contextmanager
    def slow(self) -> Iterator[None]:
        freeze(self.server)
        try:
            yield
        finally:
            thaw(self.server)

    def failing_in_session(self) -> AbstractContextManager[object]:
        return self.slow()

    def lying(self) -> AbstractContextManager[object]:
        return VectorStoreHarness.lying(self)

    def hiding(self) -> AbstractContextManager[object]:
        return VectorStoreHarness.hiding(self)
