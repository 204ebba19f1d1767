"""All points of a collection, a page at a time, in the order of the ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from qdrant_client import QdrantClient
from qdrant_client.models import Record

from vectorstore.qdrant.connection import qdrant

Page = TypeVar("Page")


def pages(collection: str, size: int, **what: Any) -> Iterator[list[Record]]:
    """SIZE points a page; WHAT of them, as ``scroll`` takes it (``with_payload``, ``with_vectors``). Raises StoreUnavailable."""
    return paged(lambda client, offset: client.scroll(collection, limit=size, offset=offset, **what))


def paged(scroll: Callable[[QdrantClient, Any], tuple[Page, Any]]) -> Iterator[Page]:
    """What SCROLL returns after an offset (None: from the beginning), with the next one (None: that was the last). Between two pages the embedded store
    is free for others."""
    offset = None
    while True:
        with qdrant() as client:
            page, offset = scroll(client, offset)
        yield page
        if offset is None:
            return
