"""What a collection holds: its points in the order of their ids, numbers first, a page at a time."""

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
"""The whole folder is read for each."""
AHEAD = 2
"""Pages that are read while others are compared."""


def pages(collection: str) -> Iterator[Points]:
    """Every point. A server is asked in a thread, ahead of whoever compares; the embedded store belongs to one thread at a time."""
    if is_embedded():
        return map(_points, record_pages(collection, EMBEDDED_PAGE_SIZE, with_payload=True, with_vectors=True))
    scroll = scroll_grpc.scroll if server_address().grpc_port else scroll_rest.scroll
    return _ahead(_scrolled(lambda client, offset: scroll(client, collection, PAGE_SIZE, offset)))


def begun(collection: str) -> Iterator[Points]:
    """As ``pages``, for whoever has just opened the embedded store, which is read in full for it: the first page is read at once."""
    found = pages(collection)
    return chain([next(found)], found) if is_embedded() else found


def points_among(collection: str, ids: Collection[UUID]) -> Points:
    asked = [str(one) for one in ids]
    with qdrant() as client:
        if not is_embedded() and not server_address().grpc_port:
            return scroll_rest.retrieve(client, collection, asked)
        return _points(client.retrieve(collection, asked, with_payload=True, with_vectors=True))


def record_pages(collection: str, size: int, **what: Any) -> Iterator[list[Record]]:
    """SIZE points a page; WHAT of them, as ``scroll`` takes it (``with_payload``, ``with_vectors``). Raises StoreUnavailable."""
    return _scrolled(lambda client, offset: client.scroll(collection, limit=size, offset=offset, **what))


def _scrolled(scroll: Callable[[QdrantClient, Any], tuple[Page, Any]]) -> Iterator[Page]:
    """What SCROLL returns after an offset (None: from the beginning), with the next one (None: that was the last). Between two pages the embedded store
    is free for others."""
    offset = None
    while True:
        with qdrant() as client:
            page, offset = scroll(client, offset)
        yield page
        if offset is None:
            return


def _points(records: Sequence[Record]) -> Points:
    of_people = [record for record in records if isinstance(record.id, str)]
    numbers = [record.id for record in records if isinstance(record.id, int)]
    return Points(
        [UUID(str(record.id)) for record in of_people],
        [record.payload or {} for record in of_people],
        vectors_of([record.vector for record in of_people]),
        numbers,
    )


def _ahead(found: Iterator[Points]) -> Iterator[Points]:
    """FOUND, read by a thread of its own, up to AHEAD pages before they are asked for. What it raises is raised here."""
    read: queue.Queue[Points | BaseException | None] = queue.Queue(AHEAD)
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
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is raised to whoever asked
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
