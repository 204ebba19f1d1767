"""Collections beside the live one: one that fails is given up, and holds nobody up (protocol, rule 10)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from findme.console.errors import one_line
from vectorstore import registry
from vectorstore.errors import CollectionMissing, Refused, ServerFailed


@contextmanager
def given_up_where_it_fails(collection: str) -> Iterator[None]:
    """What Qdrant answers in the block is the collection's fault. A collection that is searched meanwhile is no longer given up: the error stays one."""
    try:
        yield
    except (CollectionMissing, Refused, ServerFailed) as error:
        if not registry.fail(collection, one_line(error)) and collection in registry.written():
            raise
