"""Stream files under ASGI: whitenoise and the admin's exports give Django a synchronous iterator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase


def stream_asynchronously(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware that reads a streamed response in a thread, one chunk at a time.

    Without it Django warns for each static file, and reads the complete file into memory before it sends the first byte.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if isinstance(request, ASGIRequest) and isinstance(response, StreamingHttpResponse):
            chunks = response.streaming_content
            if isinstance(chunks, Iterator):
                response.streaming_content = _in_a_thread(chunks)
        return response

    return middleware


async def _in_a_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    def next_chunk() -> bytes | None:
        return next(chunks, None)

    read = sync_to_async(next_chunk)
    while (chunk := await read()) is not None:
        yield chunk
