"""Whether the collections are this database's, and no store has gone back in time (protocol, rules 8 and 9): asked when a process first writes,
whenever a store was away, and whenever the mark is renewed."""

from __future__ import annotations

import os

from django.conf import settings
from django.db import connection
from qdrant_client import QdrantClient

from vectorstore import registry
from vectorstore.connection import qdrant
from vectorstore.errors import CollectionMissing
from vectorstore.marks import check_marks, mark_is_due, renew_mark
from vectorstore.ownership import prove_ours

Store = tuple[object, ...]

_proven: dict[Store, frozenset[str]] = {}
"""The collections that nothing spoke against, by store and database."""


def prove(client: QdrantClient) -> None:
    """Raises NotDone for another database's collection, and StoreWentBack (a StoreUnavailable) where a store went back in time.

    Nearly free once it has been asked. Renews the mark where that is due, but not inside a caller's transaction: it has to be committed first.
    """
    proven, written = _proven.get(_store(), frozenset()), frozenset(registry.written())
    if not written <= proven:
        for collection in sorted(written - proven):
            _prove_ours(client, collection)
        check_marks(client)
        _proven[_store()] = written
    if written and not connection.in_atomic_block and mark_is_due():
        renew_mark(client)


def _prove_ours(client: QdrantClient, collection: str) -> None:
    """One beside the live one that is gone holds nobody up: whoever writes it next gives it up."""
    try:
        with qdrant():  # for its errors
            prove_ours(client, collection)
    except CollectionMissing:
        if collection == registry.live():
            raise


def doubt() -> None:
    """A store was away: it may come back as another one."""
    _proven.pop(_store(), None)


def _store() -> Store:
    return os.getpid(), settings.QDRANT_URL, settings.QDRANT_PATH, settings.QDRANT_COLLECTION, connection.settings_dict["NAME"]
