"""Whether the collections are this database's, and no store was restored from an older copy (protocol, rules 8 and 9): asked when a process first writes,
whenever a store was unavailable, on each new connection to PostgreSQL, and whenever the checkpoint is renewed."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import connection
from qdrant_client import QdrantClient

from findme.core.errors import one_line
from vectorstore.catalog import registry
from vectorstore.catalog.alias import check_alias
from vectorstore.catalog.ownership import ForeignCollection, check_owner
from vectorstore.catalog.secondary import fail_secondary, tolerate_secondary_failure
from vectorstore.consistency.checkpoint import (
    RENEWAL_SECONDS,
    CheckpointNotWritten,
    compare_checkpoints,
    is_checkpoint_due,
    renew_checkpoint,
)

Store = tuple[object, ...]

log = logging.getLogger(__name__)

COMPARE_SECONDS = 60.0
"""Each process compares the stores at least this often, whichever worker renews the checkpoint, and whatever the queue holds."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The collections that were compared and found right, and when, by ``time.monotonic``."""

    collections: frozenset[str]
    at: float

    def covers(self, targets: tuple[str, ...]) -> bool:
        """Return whether nothing need be compared. Without a row of a collection there is nothing that was found right."""
        return bool(targets) and self.collections.issuperset(targets) and time.monotonic() < self.at + COMPARE_SECONDS


_compared: WeakKeyDictionary[object, dict[Store, _Comparison]] = WeakKeyDictionary()
"""By connection to PostgreSQL, which may come back as an older copy, and by store."""

_put_off: dict[Store, float] = {}
"""Where the checkpoint could not be renewed: when that is tried again, by ``time.monotonic``."""


def check_stores(client: QdrantClient) -> None:
    """Raises UserFacingError for another database's collection and for an alias that leads elsewhere, and RestoreDetected (a
    StoreUnavailable) where a store was restored to an older copy.

    Nearly free for a minute after it has been asked. Renews the checkpoint where that is due, but not inside a caller's transaction: it has to be committed
    first. Where PostgreSQL has noted no collection, the alias decides: CollectionNotFound, or what speaks against the collection that it
    leads to.
    """
    targets = registry.write_targets()
    if _is_due(targets):
        check_alias(client)
        check_owners(client)
        compare_checkpoints(client)
        _note(targets)
    if targets and not connection.in_atomic_block and time.monotonic() >= _put_off.get(_store(), 0.0) and is_checkpoint_due():
        check_alias(client)  # somebody may have moved it by hand meanwhile, and another database may have taken a collection over
        check_owners(client)
        _renew(client)
        _note(targets)


def is_due() -> bool:
    """Return whether this process has yet to compare the stores, or compared them more than ``COMPARE_SECONDS`` ago."""
    return _is_due(registry.write_targets())


def _is_due(targets: tuple[str, ...]) -> bool:
    comparison = _compared.setdefault(connection.connection, {}).get(_store())
    return comparison is None or not comparison.covers(targets)


def _note(targets: tuple[str, ...]) -> None:
    _compared.setdefault(connection.connection, {})[_store()] = _Comparison(frozenset(targets), time.monotonic())


def _renew(client: QdrantClient) -> None:
    """Where a cluster has lost too many nodes for a new checkpoint, people's points are written all the same: what was compared speaks for it."""
    try:
        renew_checkpoint(client)
    except CheckpointNotWritten as error:
        if _store() not in _put_off:
            log.warning(
                "The checkpoint was compared and could not be renewed, which is tried again every %s s: %s",
                RENEWAL_SECONDS,
                one_line(error),
            )
        _put_off[_store()] = time.monotonic() + RENEWAL_SECONDS
    else:
        _put_off.pop(_store(), None)


def check_owners(client: QdrantClient) -> None:
    """Raises UserFacingError where the live collection is another database's. It comes first, and its answer says that it is not the store
    that is unavailable: one beside it that is gone, fails, or is not ours holds nobody up."""
    live = registry.live()
    for collection in registry.write_targets():
        with tolerate_secondary_failure(live, collection, doing="reading"):
            try:
                check_owner(client, collection)
            except ForeignCollection as error:
                if live not in {None, collection}:
                    fail_secondary(collection, error)
                elif collection in registry.write_targets():
                    raise


def invalidate() -> None:
    """A store was unavailable: it may come back as another one."""
    for by_store in list(_compared.values()):
        by_store.pop(_store(), None)


def _store() -> Store:
    return os.getpid(), settings.QDRANT_URL, settings.QDRANT_PATH, settings.QDRANT_COLLECTION, connection.settings_dict["NAME"]
