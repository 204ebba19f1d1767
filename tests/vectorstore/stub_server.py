"""The requests of a sync and of an erasure, answered by the client's local mode over REST. It stands for a server where there is none."""

from __future__ import annotations

import json
import threading
from typing import Any

from pydantic import BaseModel, TypeAdapter
from qdrant_client import models

from tests.support.stores.http_proxy import Answer, HttpProxy, Request, confirmed
from tests.support.stubs import root
from vectorstore.qdrant import embedded_storage


class StubServer(HttpProxy):
    """It serves an embedded store's folder, and breaks as a proxy does."""

    def __init__(self, folder: str) -> None:
        self.client = embedded_storage.opened(folder)
        self.lock = threading.Lock()
        super().__init__("http://127.0.0.1:1")

    def close(self) -> None:
        self.stop()
        self.client.close()

    def forward(self, request: Request) -> Answer:
        parts = request.path.partition("?")[0].strip("/").split("/")
        body = json.loads(request.body or b"{}")
        with self.lock:
            if parts == [""]:
                return Answer(200, "application/json", json.dumps(root("1.19.0")).encode())
            return confirmed(_plain(self._answer(request.method, parts, body)))

    def _answer(self, method: str, parts: list[str], body: dict[str, Any]) -> object:
        match method, parts:
            case "GET", ["aliases"]:
                return self.client.get_aliases()
            case "POST", ["collections", "aliases"]:
                return self.client.update_collection_aliases(_parsed(list[models.AliasOperations], body["actions"]))
            case "GET", ["collections"]:
                return self.client.get_collections()
            case "GET", ["collections", name, "exists"]:
                return {"exists": self.client.collection_exists(name)}
            case "GET", ["collections", name]:
                return self.client.get_collection(name)
            case "PATCH", ["collections", name]:
                return self.client.update_collection(name, metadata=body["metadata"])
            case _, ["collections", name, "points", *rest]:
                return self._points(method, name, rest, body)
        raise AssertionError(f"The stub does not answer {method} {'/'.join(parts)}.")

    def _points(self, method: str, name: str, rest: list[str], body: dict[str, Any]) -> object:
        shown = {"with_payload": body.get("with_payload", True), "with_vectors": body.get("with_vector", False)}
        chosen = _parsed(models.Filter, body["filter"]) if body.get("filter") else None
        match method, rest:
            case "PUT", []:
                points = _parsed(list[models.PointStruct], body["points"])
                return self.client.upsert(name, points, update_filter=_parsed(models.Filter | None, body.get("update_filter")))
            case "POST", []:
                return self.client.retrieve(name, body["ids"], **shown)
            case "POST", ["scroll"]:
                found, offset = self.client.scroll(name, scroll_filter=chosen, limit=body["limit"], offset=body.get("offset"), **shown)
                return {"points": found, "next_page_offset": offset}
            case "POST", ["query"]:
                return self.client.query_points(name, query=body["query"]["nearest"], query_filter=chosen, limit=body["limit"], **shown)
            case "POST", ["count"]:
                return self.client.count(name, count_filter=chosen)
            case "POST", ["delete"]:
                selector = models.FilterSelector(filter=chosen) if chosen else models.PointIdsList(points=body["points"])
                return self.client.delete(name, selector)
        raise AssertionError(f"The stub does not answer {method} points/{'/'.join(rest)}.")


def _parsed(kind: Any, value: object) -> Any:
    return TypeAdapter(kind).validate_python(value)


def _plain(value: object) -> object:
    """Return the value as JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
