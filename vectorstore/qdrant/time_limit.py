"""The time limit of a whole request by REST, as gRPC has one."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from qdrant_client import QdrantClient

from findme.core.waiting import Deadline


class TimeLimit(httpx.BaseTransport):
    """End each request after its timeout.

    httpx limits only the wait for the next part of an answer. An answer that arrives byte by byte would never time out, and a worker would outlast its
    lease (protocol rule 2).
    """

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        seconds = request.extensions.get("timeout", {}).get("read")
        deadline = None if seconds is None else Deadline(seconds)
        response = self._transport.handle_request(request)
        if deadline is not None and isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _Parts(response.stream, deadline, request)
        return response

    def close(self) -> None:
        self._transport.close()


class _Parts(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, deadline: Deadline, request: httpx.Request) -> None:
        self._stream, self._deadline, self._request = stream, deadline, request

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            if self._deadline.is_over():
                raise httpx.ReadTimeout(f"The answer is not complete after {self._deadline.seconds:g} s.", request=self._request)
            yield part

    def close(self) -> None:
        self._stream.close()


def limit_requests(client: QdrantClient) -> None:
    """Limit the time of the client's requests by REST, also of those through a proxy that the environment names."""
    rest = client.http.client._client
    rest._transport = TimeLimit(rest._transport)
    rest._mounts = {pattern: None if mounted is None else TimeLimit(mounted) for pattern, mounted in rest._mounts.items()}
