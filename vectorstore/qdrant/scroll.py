"""All points of a collection by page, in the order of their ids, with numeric ids first."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from itertools import chain
from typing import Any, TypeVar
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import Record

from vectorstore.qdrant import scroll_grpc, scroll_rest
from vectorstore.qdrant.address import Address, server_address
from vectorstore.qdrant.connection import is_embedded, qdrant, qdrant_at
from vectorstore.qdrant.pages import Page, Points, Selection, page_of, vector_named

Item = TypeVar("Item")

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
    return map(Page.points, _read_ahead(_scroll_pages(lambda client, offset: scroll(client, collection, PAGE_SIZE, offset))))


def begun(collection: str) -> Iterator[Points]:
    """Return the same as ``pages``, with the first page of an embedded store already read.

    A caller that has just opened the embedded store thus saves a second opening, which reads the whole folder.
    """
    found = pages(collection)
    return chain([next(found)], found) if is_embedded() else found


def pages_at(address: Address | None, collection: str, selection: Selection, size: int, after: UUID | int | None) -> Generator[Page]:
    """Yield the points that follow ``after`` (None: all) in a collection of any server, in pages of at most ``size``.

    ``address`` None stands for the embedded store. A thread reads the pages of a server ahead of the caller: close the generator to end it.
    Raise StoreUnavailable.
    """

    def opened() -> AbstractContextManager[QdrantClient]:
        return qdrant_at(address, collection)

    offset: Any = str(after) if isinstance(after, UUID) else after
    if address is None:
        found = _scroll_pages(lambda client, at: _embedded_page(client, collection, size, at, selection), opened, offset)
    elif address.grpc_port:
        start = None if after is None else scroll_grpc.offset_of(after)
        found = _read_ahead(_scroll_pages(lambda client, at: scroll_grpc.scroll(client, collection, size, at, selection), opened, start))
    else:
        found = _read_ahead(_scroll_pages(lambda client, at: scroll_rest.scroll(client, collection, size, at, selection), opened, offset))
    with closing(found):
        for page in found:
            yield page.after(after)


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


def _scroll_pages(
    scroll: Callable[[QdrantClient, Any], tuple[Item, Any]],
    opened: Callable[[], AbstractContextManager[QdrantClient]] = qdrant,
    offset: Any = None,
) -> Generator[Item]:
    """Yield the pages of ``scroll``, which takes an offset (None: the beginning) and returns a page and the next offset (None: the end).

    Other threads and processes can use the embedded store between two pages.
    """
    while True:
        with opened() as client:
            page, offset = scroll(client, offset)
        yield page
        if offset is None:
            return


def _embedded_page(client: QdrantClient, collection: str, size: int, offset: Any, selection: Selection) -> tuple[Page, Any]:
    # The whole payload, because the client needs longer to select fields than for all the rest of a page.
    with_vectors = [selection.vector] if selection.vector else True
    records, following = client.scroll(collection, limit=size, offset=offset, with_payload=True, with_vectors=with_vectors)
    return _page(records, selection.vector), following


def _points(records: Sequence[Record]) -> Points:
    return _page(records, "").points()


def _page(records: Sequence[Record], name: str) -> Page:
    return page_of(
        [UUID(record.id) if isinstance(record.id, str) else int(str(record.id)) for record in records],
        [record.payload or {} for record in records],
        [vector_named(name, record.vector) for record in records],
    )


def _read_ahead(found: Iterator[Item]) -> Generator[Item]:
    """Yield the pages of ``found``. A thread reads them, up to ``READ_AHEAD`` pages ahead. Its errors are raised here."""
    read: queue.Queue[Item | BaseException | None] = queue.Queue(READ_AHEAD)
    stopped = threading.Event()

    def put(item: Item | BaseException | None) -> None:
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

    thread = threading.Thread(target=work, name="scroll", daemon=True)
    thread.start()
    try:
        while (item := read.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
