"""A vector store with its collection."""

from __future__ import annotations

import pytest

from vectorstore.qdrant.connection import collection_name
from vectorstore.schema.initialize import initialize
from vectorstore.verification import merge_join


def version(number: int) -> str:
    """Return the name of the collection with this number."""
    return f"{collection_name()}_v{number}"


@pytest.fixture
def collection(store: str) -> str:
    """Each store in turn, with an empty collection. Return the store."""
    initialize()
    return store


@pytest.fixture
def live(store: str) -> str:
    """Each store in turn, with an empty collection. Return the collection's name."""
    initialize()
    return version(1)


@pytest.fixture
def every_live(every_store: str) -> str:
    """As ``live``, and the server by gRPC too."""
    initialize()
    return version(1)


@pytest.fixture
def no_recheck_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verification checks a difference again at once."""
    monkeypatch.setattr(merge_join, "WAIT_SECONDS", 0)
