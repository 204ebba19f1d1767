"""Preflight checks before writing to Qdrant (protocol rules 8 and 9).

Every collection must belong to this database, and neither store may have been restored from an older copy. The checks run before the first write of a
process, after a store was unavailable for any call of the process, on each new PostgreSQL connection, and when the checkpoint is renewed.
"""

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
from vectorstore.qdrant.connection import last_outage

Store = tuple[object, ...]

log = logging.getLogger(__name__)

COMPARE_SECONDS = 60.0
"""Each process compares the stores at least this often, even if another worker renews the checkpoint or the queue is long."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The collections that passed a comparison, its time by ``time.monotonic``, and the last outage of Qdrant before it."""

    collections: frozenset[str]
    at: float
    outage: int

    def covers(self, targets: tuple[str, ...]) -> bool:
        """Return whether no comparison is needed. Without any collection in the registry, no comparison was made."""
        return (
            bool(targets)
            and self.collections.issuperset(targets)
            and time.monotonic() < self.at + COMPARE_SECONDS
            and self.outage == last_outage()
        )


_compared: WeakKeyDictionary[object, dict[Store, _Comparison]] = WeakKeyDictionary()
"""Comparisons by connection to PostgreSQL and by store. A new connection may reach an older copy of PostgreSQL."""

_renewal_retries: dict[Store, float] = {}
"""The time of the next attempt after a failed renewal of the checkpoint, by ``time.monotonic``."""


def check_stores(client: QdrantClient) -> None:
    """Compare the stores and raise if a worker must not write.

    Raise UserFacingError for a collection of another database, and for an alias that points to another collection. Raise RestoreDetected (a
    StoreUnavailable) if a store was restored from an older copy. If the registry is empty, the alias decides: raise CollectionNotFound, or the
    problem of the collection to which the alias points.

    Repeated calls within a minute cost almost nothing. A checkpoint that is due is renewed, except inside a caller's transaction, because it must
    be committed first.
    """
    targets, outage = registry.write_targets(), last_outage()
    if _is_due(targets):
        check_alias(client)
        check_owners(client)
        compare_checkpoints(client)
        _note(targets, outage)
    if targets and not connection.in_atomic_block and time.monotonic() >= _renewal_retries.get(_store(), 0.0) and is_checkpoint_due():
        # Since the comparison an operator may have moved the alias, and another database may have adopted a collection.
        check_alias(client)
        check_owners(client)
        _renew(client)
        _note(targets, outage)


def is_due() -> bool:
    """Return whether this process has yet to compare the stores, or compared them more than ``COMPARE_SECONDS`` ago."""
    return _is_due(registry.write_targets())


def _is_due(targets: tuple[str, ...]) -> bool:
    comparison = _compared.setdefault(connection.connection, {}).get(_store())
    return comparison is None or not comparison.covers(targets)


def _note(targets: tuple[str, ...], outage: int) -> None:
    _compared.setdefault(connection.connection, {})[_store()] = _Comparison(frozenset(targets), time.monotonic(), outage)


def _renew(client: QdrantClient) -> None:
    """Renew the checkpoint, and log a warning if Qdrant does not store it.

    A cluster that has lost too many nodes for a new checkpoint still accepts points. They are written, because the comparison has succeeded.
    """
    try:
        renew_checkpoint(client)
    except CheckpointNotWritten as error:
        if _store() not in _renewal_retries:
            log.warning(
                "The checkpoint was compared and could not be renewed. The renewal is repeated every %s s: %s",
                RENEWAL_SECONDS,
                one_line(error),
            )
        _renewal_retries[_store()] = time.monotonic() + RENEWAL_SECONDS
    else:
        _renewal_retries.pop(_store(), None)


def check_owners(client: QdrantClient) -> None:
    """Raise UserFacingError if the live collection belongs to another database.

    The live collection is checked first, and its answer shows that the store is available. So a secondary collection that is missing, fails or
    belongs to another database blocks no worker.
    """
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


def _store() -> Store:
    return os.getpid(), settings.QDRANT_URL, settings.QDRANT_PATH, settings.QDRANT_COLLECTION, connection.settings_dict["NAME"]
