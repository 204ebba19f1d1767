"""A scratch database and a scratch collection that hold the same users, with clustered vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from qdrant_client.models import CollectionStatus

from benchmarks.scratch import scratch_database, scratch_store
from benchmarks.users import clustered, give_embeddings, make_users
from findme.core.errors import UserFacingError
from findme.core.waiting import wait_until
from vectorstore.qdrant.connection import collection_name, is_embedded, qdrant
from vectorstore.sync.worker import sync_once

GREEN_SECONDS = 300


@contextmanager
def filled_stores(users: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the kind of the vector store, and the vectors of the ``users`` in it."""
    vectors = clustered(users)
    with scratch_database(), scratch_store() as kind:
        give_embeddings(make_users(users), vectors)
        sync_once()
        if not is_embedded():
            wait_for_green()
        yield kind, vectors


def wait_for_green() -> None:
    """Wait until Qdrant has built its graphs. Raise UserFacingError after ``GREEN_SECONDS``."""
    with qdrant() as client:
        if not wait_until(lambda: client.get_collection(collection_name()).status == CollectionStatus.GREEN, GREEN_SECONDS):
            raise UserFacingError(f"The collection is not green after {GREEN_SECONDS} s.")
