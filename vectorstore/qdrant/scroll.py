"""All points of a collection by page, in the order of their ids, with numeric ids first."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import Record

from vectorstore.qdrant import scroll_grpc, scroll_rest
from vectorstore.qdrant.address import server_address
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.qdrant.pages import Points, vectors_of

Page = TypeVar("Page")

PAGE_SIZE = 500
EMBEDDED_PAGE_SIZE = 2000
"""Larger than ``PAGE_SIZE``, because the client reads the whole folder for each page."""
READ_AHEAD = 2
"""Pages that are read while the caller compares earlier ones."""


def pages(collection: str) -> Iterator[Points]:
    """Return every point by page.

    A thread reads the pages of a server ahead of the caller. The embedded store belongs to one thread at a time, so the caller's thread reads it.
    """
    if is_embedded():
        return map(_points, record_pages(collection, EMBEDDED_PAGE_SIZE, with_payload=True, with_vectors=True))
    scroll = scroll_grpc.scroll if server_address().grpc_port else scroll_rest.scroll
    return _read_ahead(_scroll_pages(lambda client, offset: scroll(client, collection, PAGE_SIZE, offset)))


def begun(collection: str) -> Iterator[Points]:
    """Return the same as ``pages``, with the first page of an embedded store already read.

    A caller that has just opened the embedded store thus saves a second opening, which reads the whole folder.
    """
    found = pages(collection)
    return chain([next(found)], found) if is_embedded() else found


def points_among(collection: str, ids: Collection[UUID]) -> Points:
    texts = [str(point_id) for point_id in ids]
    with qdrant() as client:
        if not is_embedded() and not server_address().grpc_port:
            return scroll_rest.retrieve(client, collection, texts)
        return _points(client.retrieve(collection, texts, with_payload=True, with_vectors=True))


def record_pages(collection: str, size: int, **options: Any) -> Iterator[list[Record]]:
    """Return the records in pages of ``size``, with the ``options`` of ``scroll`` (``with_payload``, ``with_vectors``).

    Raise StoreUnavailable.
    """
    return _scroll_pages(lambda client, offset: client.scroll(collection, limit=size, offset=offset, **options))


def _scroll_pages(scroll: Callable[[QdrantClient, Any], tuple[Page, Any]]) -> Iterator[Page]:
    """Yield the pages of ``scroll``, which takes an offset (None: the beginning) and returns a page and the next offset (None: the end).

    Other threads and processes can use the embedded store between two pages.
    """
    offset = None
    while True:
        with qdrant() as client:
            page, offset = scroll(client, offset)
        yield page
        if offset is None:
            return


def _points(records: Sequence[Record]) -> Points:
    of_users = [record for record in records if isinstance(record.id, str)]
    numbers = [record.id for record in records if isinstance(record.id, int)]
    return Points(
        [UUID(str(record.id)) for record in of_users],
        [record.payload or {} for record in of_users],
        vectors_of([record.vector for record in of_users]),
        numbers,
    )


def _read_ahead(found: Iterator[Points]) -> Iterator[Points]:
    """Yield the pages of ``found``. A thread reads them, up to ``READ_AHEAD`` pages ahead. Its errors are raised here."""
    read: queue.Queue[Points | BaseException | None] = queue.Queue(READ_AHEAD)
    stopped = threading.Event()

    def put(item: Points | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                read.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for page in found:
                put(page)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001  # the caller's thread raises it
            put(error)

    thread = threading.Thread(target=work, name="verification", daemon=True)
    thread.start()
    try:
        while (item := read.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
