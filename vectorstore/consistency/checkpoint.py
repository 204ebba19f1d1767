"""Detection of a restored store by a checkpoint in PostgreSQL and in the collections (protocol rule 9).

The checkpoint (a random id, the last allocated version, the time) is written first to PostgreSQL as *pending*, then to each collection's metadata, and
then confirmed in PostgreSQL. So if a collection has neither the pending nor the confirmed checkpoint, it is an older copy, or PostgreSQL is. With the
checkpoint PostgreSQL stores the newest points of each collection (``sentinel_points``).

A deletion also leaves a version in the collections (``vectorstore.consistency.deletions``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import uuid4

from django.contrib.postgres.functions import TransactionNow
from django.db import OperationalError, connection
from django.db.models import F
from psycopg.errors import LockNotAvailable
from qdrant_client import QdrantClient
from qdrant_client.models import CollectionInfo

from findme.core.errors import StoreUnavailable, one_line
from vectorstore.catalog import registry
from vectorstore.catalog.secondary import tolerate_secondary_failure
from vectorstore.consistency.deletions import DELETED, deleted_at, last_deletion
from vectorstore.consistency.sentinels import SENTINEL_COUNT, is_older_than_sentinels, sentinel_points
from vectorstore.consistency.versions import Newest, last_allocated, newest
from vectorstore.models import StoreState
from vectorstore.qdrant.address import timeout_seconds
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import RequestTimeout, RestoreDetected, ServerError
from vectorstore.queue.transactions import short_transaction

Checkpoint: TypeAlias = dict[str, Any]

KEY = "findme_checkpoint"
"""Metadata key of a collection's checkpoint."""

RENEWAL_SECONDS = 30
"""The age at which a checkpoint is due. With this age it is renewed at least once a minute, even after a slow batch."""

RENEWAL_TIMEOUT_SECONDS = 10
"""A longer renewal stops, and the next one completes it. A checkpoint that arrives after its successor would be a false alarm."""

ATTEMPTS, WAIT_SECONDS = 3, 0.2
"""A difference is checked again: a checkpoint that was replaced twice between the two reads is unknown, but not wrong."""


class CheckpointNotWritten(StoreUnavailable):
    """The stores were compared and agree, but Qdrant did not change the metadata of the live collection.

    On a cluster a change of metadata needs the majority of the nodes. Writing points does not.
    """


def unallocated_version(collection: str, version: int, allocated: int) -> str:
    """Return the error for a point with a ``version`` above the last allocated one."""
    return (
        f"{collection!r} holds a point of version {version}, and PostgreSQL has allocated {allocated} so far: it was restored to an older copy, or"
        " failed over."
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state of a collection, read after PostgreSQL had the checkpoints with the ids ``known``."""

    name: str
    checkpoint: Checkpoint | None
    newest: Newest
    known: frozenset[str]
    deleted_at: int
    """The version that the last deletion recorded, 0 if there was none."""


def compare_checkpoints(client: QdrantClient) -> None:
    """Raise RestoreDetected, in one line, if a store is older than the other store's checkpoint."""
    _compare(client, registry.write_targets, _read_states(client, registry.write_targets()))


def compare_live_checkpoint(client: QdrantClient) -> None:
    """Compare only the live collection, as ``compare_checkpoints`` does, and change nothing.

    Secondary collections receive no request, so none of them is marked as failed.
    """
    _compare(client, _live_only, _read_states(client, _live_only()))


def _live_only() -> tuple[str, ...]:
    live = registry.live()
    return () if live is None else (live,)


def is_checkpoint_due() -> bool:
    """Return whether the checkpoint is due for renewal, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(checkpoint_at < clock_timestamp() - make_interval(secs => %s), true) FROM vector_store_state",
            [RENEWAL_SECONDS],
        )
        row = cursor.fetchone()
        return row is None or bool(row[0])


def renew_checkpoint(client: QdrantClient) -> bool:
    """Compare the stores, then write a new checkpoint to PostgreSQL and every collection if one is due.

    Return False if it is not due, if another process is faster, or if it took too long. The comparison comes first, because a new checkpoint would
    hide a restore. Raise RestoreDetected, CheckpointNotWritten and StoreUnavailable. Do not call this inside a transaction.
    """
    seen = _read_states(client, registry.write_targets())
    _compare(client, registry.write_targets, seen)
    return _renew(client, seen, replace=False)


def reset_checkpoint(client: QdrantClient) -> bool:
    """Write a new checkpoint to both stores without a comparison, after a repair or an adoption.

    Return False if it took too long.
    """
    return _renew(client, _read_states(client, registry.write_targets()), replace=True)


def write_checkpoint(client: QdrantClient, collection: str) -> None:
    """Write the current checkpoint to a collection that is new or was written again. Its row must be committed.

    A pending checkpoint takes precedence. The lock on the row prevents a renewal in the meantime.
    """
    StoreState.current()
    with short_transaction(extra_seconds=timeout_seconds()):
        state = StoreState.objects.select_for_update().get(pk=1)
        checkpoint = state.pending_checkpoint or state.checkpoint
        if checkpoint is not None:
            client.update_collection(collection, metadata={KEY: _without_sentinels(checkpoint), DELETED: last_deletion(client)})


def _compare(client: QdrantClient, names: Callable[[], tuple[str, ...]], seen: list[_Seen]) -> None:
    """Raise RestoreDetected if each of several reads of the collections shows a restored store. ``seen`` is the first read."""
    reason = _reason(client, seen)
    for _ in range(ATTEMPTS - 1):
        if reason is None:
            return
        time.sleep(WAIT_SECONDS)
        reason = _reason(client, _read_states(client, names()))
    if reason is not None:
        raise RestoreDetected(reason)


def _read_states(client: QdrantClient, names: tuple[str, ...]) -> list[_Seen]:
    known = _known_ids(StoreState.current())
    live, seen = registry.live(), []
    for name in names:
        with tolerate_secondary_failure(live, name, doing="reading"):
            found = client.get_collection(name)
            seen.append(_Seen(name, _checkpoint_in(found), newest(client, name, found, SENTINEL_COUNT), known, deleted_at(found)))
    return seen


def _known_ids(state: StoreState) -> frozenset[str]:
    return frozenset(checkpoint["id"] for checkpoint in (state.checkpoint, state.pending_checkpoint) if checkpoint is not None)


def _checkpoint_in(found: CollectionInfo) -> Checkpoint | None:
    checkpoint = (found.config.metadata or {}).get(KEY)
    return checkpoint if isinstance(checkpoint, dict) and checkpoint.keys() == {"id", "version", "at"} else None


def _reason(client: QdrantClient, seen: list[_Seen]) -> str | None:
    """Return what shows a restored store, or None.

    PostgreSQL is read after the collections, so it must know everything that they contained.
    """
    allocated = last_allocated()
    for one in seen:
        if one.newest and one.newest[0][1] > allocated:
            return unallocated_version(one.name, one.newest[0][1], allocated)
        if one.checkpoint is not None and one.checkpoint["version"] > allocated:
            return (
                f"{one.name!r} has a checkpoint of version {one.checkpoint['version']}, and PostgreSQL has allocated {allocated} so far: it was restored to an"
                " older copy, or failed over."
            )
        if one.deleted_at > allocated:
            return (
                f"Points were deleted from {one.name!r} at version {one.deleted_at}, and PostgreSQL has allocated {allocated} so far: it was restored to an older"
                " copy, or failed over."
            )
    return _reason_of_checkpoints(client, seen)


def _reason_of_checkpoints(client: QdrantClient, seen: list[_Seen]) -> str | None:
    """Return the reason of an unknown checkpoint or of sentinel points that are older or gone, or None.

    A checkpoint is unknown if PostgreSQL had it neither before nor after the collection was read. A building collection may lose sentinel points.
    """
    state, live, complete = StoreState.current(), registry.live(), registry.complete_targets()
    for one in seen:
        known = one.known | _known_ids(state)
        if known and one.checkpoint is not None and one.checkpoint["id"] not in known:
            of = state.checkpoint or state.pending_checkpoint or {}
            return (
                f"{one.name!r} has the checkpoint of {one.checkpoint['at']}, and PostgreSQL has that of {of.get('at')}: one of the two was restored"
                " to an older copy."
            )
        checkpoint, is_older = state.checkpoint or {}, False
        sentinels = checkpoint.get("newest", {}).get(one.name, []) if one.name in complete else []
        with tolerate_secondary_failure(live, one.name, doing="reading"):
            is_older = is_older_than_sentinels(client, one.name, sentinels)
        if is_older:
            return (
                f"Points in {one.name!r} are older than at {checkpoint['at']}, or gone: it was restored to an older copy, or another program has"
                " deleted or overwritten points."
            )
    return None


def _renew(client: QdrantClient, seen: list[_Seen], *, replace: bool) -> bool:
    started = time.monotonic()
    pending = _store_pending({one.name: one.newest for one in seen}, replace=replace)
    if pending is None:
        return False
    live = registry.live()
    for name in registry.write_targets():
        if time.monotonic() - started > RENEWAL_TIMEOUT_SECONDS:
            return False
        with tolerate_secondary_failure(live, name, doing="checkpoint"), _raise_if_not_written(name == live):
            client.update_collection(name, metadata={KEY: _without_sentinels(pending)} | ({DELETED: None} if replace else {}))
            _check_written(client, name, pending)
    return _confirm(pending)


@contextmanager
def _raise_if_not_written(is_live: bool) -> Iterator[None]:
    """Raise CheckpointNotWritten for a server error of the live collection.

    A secondary collection is written after the live one has accepted its checkpoint, so there the error is its own.
    """
    try:
        with qdrant():
            yield
    except (ServerError, RequestTimeout) as error:
        if not is_live:
            raise
        raise CheckpointNotWritten(one_line(error)) from error


def _store_pending(newest_points: Mapping[str, Newest], *, replace: bool) -> Checkpoint | None:
    """Return the pending checkpoint: a new one, or one that another process did not complete.

    Return None if another process renews the checkpoint now, or has just done so. A pending checkpoint is not replaced, because collections may
    already have it. None is created soon after the last one, because a slow process may still write that one.
    """
    StoreState.current()
    with short_transaction():
        state = StoreState.objects.select_for_update(skip_locked=not replace).filter(pk=1).first()
        if state is None or (state.pending_checkpoint is None and not replace and not is_checkpoint_due()):
            return None
        if state.pending_checkpoint is None or replace:
            state.pending_checkpoint = {
                "id": str(uuid4()),
                "version": last_allocated(),
                "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                "newest": sentinel_points({name: newest_points[name] for name in newest_points.keys() & registry.complete_targets()}),
            }
            state.save(update_fields=["pending_checkpoint"])
        found: Checkpoint = state.pending_checkpoint
        return found


def _check_written(client: QdrantClient, name: str, pending: Checkpoint) -> None:
    """Read the checkpoint back: Qdrant's answer to the update does not prove that it was stored."""
    if _checkpoint_in(client.get_collection(name)) != _without_sentinels(pending):
        raise StoreUnavailable(f"Qdrant accepted the checkpoint for {name!r}, but did not store it: check its log, then run it again.")


def _confirm(pending: Checkpoint) -> bool:
    """Confirm the pending checkpoint. Return False if another process was faster or holds the row.

    The stored value is copied, not ``pending``: users who were erased in the meantime are no longer among its sentinel points.
    """
    try:
        with short_transaction():
            confirmed = StoreState.objects.filter(pending_checkpoint__id=pending["id"])
            return confirmed.update(checkpoint=F("pending_checkpoint"), pending_checkpoint=None, checkpoint_at=TransactionNow()) == 1
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return False
        raise


def _without_sentinels(checkpoint: Checkpoint) -> Checkpoint:
    """Return the part of the checkpoint that a collection stores. It contains no user ids."""
    return {name: value for name, value in checkpoint.items() if name != "newest"}
