"""Whether the collections are this database's, and no store has gone back in time (protocol, rules 8 and 9): asked when a process first writes,
whenever a store was away, on each new connection to PostgreSQL, and whenever the mark is renewed."""

from __future__ import annotations

import os
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import connection
from qdrant_client import QdrantClient

from vectorstore import registry
from vectorstore.marks import check_marks, held_up_by_none_but, mark_is_due, renew_mark
from vectorstore.ownership import prove_ours

Store = tuple[object, ...]

_proven: WeakKeyDictionary[object, dict[Store, frozenset[str]]] = WeakKeyDictionary()
"""The collections that nothing spoke against, by connection to PostgreSQL, which may come back as an older copy, and by store."""


def prove(client: QdrantClient) -> None:
    """Raises NotDone for another database's collection, and StoreWentBack (a StoreUnavailable) where a store went back in time.

    Nearly free once it has been asked. Renews the mark where that is due, but not inside a caller's transaction: it has to be committed first.
    """
    written = registry.written()
    by_store = _proven.setdefault(connection.connection, {})
    proven = by_store.get(_store(), frozenset())
    if not proven.issuperset(written):
        _prove_ours(client)
        check_marks(client)
        by_store[_store()] = frozenset(written)
    if written and not connection.in_atomic_block and mark_is_due():
        _prove_ours(client)  # another database may have taken one over meanwhile
        renew_mark(client)


def _prove_ours(client: QdrantClient) -> None:
    """The live one first, whose answer says that it is not the store that is away. One beside it that is gone or fails holds nobody up."""
    live = registry.live()
    for collection in registry.written():
        with held_up_by_none_but(live, collection, doing="reading"):
            prove_ours(client, collection)


def doubt() -> None:
    """A store was away: it may come back as another one."""
    for by_store in list(_proven.values()):
        by_store.pop(_store(), None)


def _store() -> Store:
    return os.getpid(), settings.QDRANT_URL, settings.QDRANT_PATH, settings.QDRANT_COLLECTION, connection.settings_dict["NAME"]
