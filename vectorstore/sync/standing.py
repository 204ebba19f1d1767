"""Whether the collections are this database's, and no store has gone back in time (protocol, rules 8 and 9): asked when a process first writes,
whenever a store was away, on each new connection to PostgreSQL, and whenever the mark is renewed."""

from __future__ import annotations

import logging
import os
import time
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import connection
from qdrant_client import QdrantClient

from findme.console.errors import one_line
from vectorstore import registry
from vectorstore.marks import RENEWAL_SECONDS, MarkNotTaken, check_marks, held_up_by_none_but, mark_is_due, renew_mark
from vectorstore.ownership import NotOurs, prove_ours
from vectorstore.rebuild.switching import prove_alias
from vectorstore.sync.beside import give_up

Store = tuple[object, ...]

log = logging.getLogger(__name__)

_proven: WeakKeyDictionary[object, dict[Store, frozenset[str]]] = WeakKeyDictionary()
"""The collections that nothing spoke against, by connection to PostgreSQL, which may come back as an older copy, and by store."""

_put_off: dict[Store, float] = {}
"""Where the mark could not be renewed: when that is tried again, by ``time.monotonic``."""


def prove(client: QdrantClient) -> None:
    """Raises NotDone for another database's collection and for an alias that leads elsewhere, and StoreWentBack (a StoreUnavailable) where a store
    went back in time.

    Nearly free once it has been asked. Renews the mark where that is due, but not inside a caller's transaction: it has to be committed first.
    """
    written = registry.written()
    by_store = _proven.setdefault(connection.connection, {})
    proven = by_store.get(_store(), frozenset())
    if not proven.issuperset(written):
        prove_alias(client)
        prove_whose(client)
        check_marks(client)
        by_store[_store()] = frozenset(written)
    if written and not connection.in_atomic_block and time.monotonic() >= _put_off.get(_store(), 0.0) and mark_is_due():
        prove_alias(client)  # somebody may have moved it by hand meanwhile, and another database may have taken a collection over
        prove_whose(client)
        _renew(client)


def _renew(client: QdrantClient) -> None:
    """Where a cluster has lost too many nodes for a new mark, people's points are written all the same: what was compared speaks for it."""
    try:
        renew_mark(client)
    except MarkNotTaken as error:
        if _store() not in _put_off:
            log.warning(
                "The mark was compared and could not be renewed, which is tried again every %s s: %s", RENEWAL_SECONDS, one_line(error)
            )
        _put_off[_store()] = time.monotonic() + RENEWAL_SECONDS
    else:
        _put_off.pop(_store(), None)


def prove_whose(client: QdrantClient) -> None:
    """Raises NotDone where the live collection is another database's. It comes first, and its answer says that it is not the store that is away:
    one beside it that is gone, fails, or is not ours holds nobody up."""
    live = registry.live()
    for collection in registry.written():
        with held_up_by_none_but(live, collection, doing="reading"):
            try:
                prove_ours(client, collection)
            except NotOurs as error:
                if live not in {None, collection}:
                    give_up(collection, error)
                elif collection in registry.written():
                    raise


def doubt() -> None:
    """A store was away: it may come back as another one."""
    for by_store in list(_proven.values()):
        by_store.pop(_store(), None)


def _store() -> Store:
    return os.getpid(), settings.QDRANT_URL, settings.QDRANT_PATH, settings.QDRANT_COLLECTION, connection.settings_dict["NAME"]
