"""A scratch database and a scratch collection of people with clustered vectors, both stores filled and settled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from qdrant_client.models import CollectionStatus

from benchmarks.people import clustered, give_embeddings, make_people
from benchmarks.scratch import scratch_database, scratch_store
from findme.core.errors import UserFacingError
from findme.core.waiting import wait_until
from vectorstore.qdrant.connection import collection_name, is_embedded, qdrant
from vectorstore.sync.worker import sync_once

GREEN_SECONDS = 300


@contextmanager
def filled_stores(people: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """What the vector store is, and the vectors of the PEOPLE in it."""
    vectors = clustered(people)
    with scratch_database(), scratch_store() as kind:
        give_embeddings(make_people(people), vectors)
        sync_once()
        if not is_embedded():
            wait_for_green()
        yield kind, vectors


def wait_for_green() -> None:
    """Until the graphs are built."""
    with qdrant() as client:
        if not wait_until(lambda: client.get_collection(collection_name()).status == CollectionStatus.GREEN, GREEN_SECONDS):
            raise UserFacingError(f"The collection is not green after {GREEN_SECONDS} s.")
