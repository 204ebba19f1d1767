"""All points of a collection, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qdrant_client.models import Record

from vectorstore.connection import qdrant


def pages(collection: str, size: int, **what: Any) -> Iterator[list[Record]]:
    """In the order of the ids, SIZE points a page; WHAT of them, as ``scroll`` takes it (``with_payload``, ``with_vectors``). Between two pages the
    embedded store is free for others. Raises StoreUnavailable."""
    offset = None
    while True:
        with qdrant() as client:
            page, offset = client.scroll(collection, limit=size, offset=offset, **what)
        yield page
        if offset is None:
            return
