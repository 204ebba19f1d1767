"""A restored store is noticed by a checkpoint that PostgreSQL and the collections both carry (protocol, rule 9).

The checkpoint (a random id, the last version allocated, the time) goes first into PostgreSQL as *pending*, then into each collection's metadata, and then
into PostgreSQL as *the checkpoint*. So a collection that carries neither of the two is not the one that was written last: it is older, or PostgreSQL
is. With the checkpoint PostgreSQL remembers the newest points of each collection (``sentinel_points``).

A deletion leaves a version in the collections besides (``vectorstore.consistency.deletions``).
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
from vectorstore.consistency.sentinels import MANY, contradict, sentinel_points
from vectorstore.consistency.versions import Newest, last_allocated, newest
from vectorstore.models import StoreState
from vectorstore.qdrant.address import timeout_seconds
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import RequestTimeout, RestoreDetected, ServerError
from vectorstore.queue.transactions import short_transaction

Checkpoint: TypeAlias = dict[str, Any]

KEY = "findme_checkpoint"
"""Of a collection's metadata."""

RENEWAL_SECONDS = 30
"""The age at which a checkpoint is due to be renewed: at least once a minute, with room for a slow batch."""

RENEWAL_TIMEOUT_SECONDS = 10
"""A renewal that has taken longer is left to the next one, which completes it: a checkpoint that arrives after its successor would be a false alarm."""

ATTEMPTS, WAIT_SECONDS = 3, 0.2
"""A checkpoint that two others replace between the readings is not known either: what looks wrong is looked at again."""


class CheckpointNotWritten(StoreUnavailable):
    """Nothing speaks against writing; but Qdrant answers questions, and does not change what the live collection says of itself. On a cluster that
    needs most of the nodes, and writing does not."""


def unallocated_version(collection: str, version: int, allocated: int) -> str:
    """What is wrong where a point has a VERSION above the last one that was ALLOCATED."""
    return (
        f"{collection!r} holds a point of version {version}, and PostgreSQL has allocated {allocated} so far: it was restored to an older copy, or"
        " failed over."
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """A collection as it was found, after PostgreSQL knew the checkpoints with the ids KNOWN."""

    name: str
    checkpoint: Checkpoint | None
    newest: Newest
    known: frozenset[str]
    deleted_at: int
    """The version that the last deletion noted; 0 where none did."""


def compare_checkpoints(client: QdrantClient) -> None:
    """Raises RestoreDetected, in one line, where a store is older than the other one remembers."""
    _compare(client, registry.write_targets, _looked_at(client, registry.write_targets()))


def compare_live_checkpoint(client: QdrantClient) -> None:
    """As ``compare_checkpoints``, for the live collection alone. Changes nothing: a secondary collection that fails is not asked, so it is not marked as failed."""
    _compare(client, _live_alone, _looked_at(client, _live_alone()))


def _live_alone() -> tuple[str, ...]:
    live = registry.live()
    return () if live is None else (live,)


def is_checkpoint_due() -> bool:
    """Whether the checkpoint is to be renewed, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(checkpoint_at < clock_timestamp() - make_interval(secs => %s), true) FROM vector_store_state",
            [RENEWAL_SECONDS],
        )
        row = cursor.fetchone()
        return row is None or bool(row[0])


def renew_checkpoint(client: QdrantClient) -> bool:
    """Compare, and then give PostgreSQL and every collection a new checkpoint if it is due; False where it is not, or somebody else is faster, or it
    took too long.

    Comparing first: a new checkpoint covers up the signs. Raises RestoreDetected, CheckpointNotWritten, and StoreUnavailable. Not inside a
    transaction.
    """
    seen = _looked_at(client, registry.write_targets())
    _compare(client, registry.write_targets, seen)
    return _renew(client, seen, afresh=False)


def reset_checkpoint(client: QdrantClient) -> bool:
    """Have both stores begin anew, whatever they remember: after a repair, or an adoption. False where it took too long."""
    return _renew(client, _looked_at(client, registry.write_targets()), afresh=True)


def write_checkpoint(client: QdrantClient, collection: str) -> None:
    """Give a collection that is new, or newly written, the checkpoint that the others have; its row is committed already. It is not the collection's own
    that is asked for, but the one that is on its way, if one is; nobody renews it meanwhile."""
    StoreState.current()
    with short_transaction(extra_seconds=timeout_seconds()):
        state = StoreState.objects.select_for_update().get(pk=1)
        checkpoint = state.pending_checkpoint or state.checkpoint
        if checkpoint is not None:
            client.update_collection(collection, metadata={KEY: _shown(checkpoint), DELETED: last_deletion(client)})


def _compare(client: QdrantClient, names: Callable[[], tuple[str, ...]], seen: list[_Seen]) -> None:
    """Raises RestoreDetected for what was seen of the collections NAMES, if it is seen again."""
    reason = _reason(client, seen)
    for _ in range(ATTEMPTS - 1):
        if reason is None:
            return
        time.sleep(WAIT_SECONDS)
        reason = _reason(client, _looked_at(client, names()))
    if reason is not None:
        raise RestoreDetected(reason)


def _looked_at(client: QdrantClient, names: tuple[str, ...]) -> list[_Seen]:
    """The collections NAMES, as Qdrant has them."""
    known = _known(StoreState.current())
    live, seen = registry.live(), []
    for name in names:
        with tolerate_secondary_failure(live, name, doing="reading"):
            found = client.get_collection(name)
            seen.append(_Seen(name, _checkpoint_in(found), newest(client, name, found, MANY), known, deleted_at(found)))
    return seen


def _known(state: StoreState) -> frozenset[str]:
    return frozenset(checkpoint["id"] for checkpoint in (state.checkpoint, state.pending_checkpoint) if checkpoint is not None)


def _checkpoint_in(found: CollectionInfo) -> Checkpoint | None:
    checkpoint = (found.config.metadata or {}).get(KEY)
    return checkpoint if isinstance(checkpoint, dict) and checkpoint.keys() == {"id", "version", "at"} else None


def _reason(client: QdrantClient, seen: list[_Seen]) -> str | None:
    """What is wrong, or None. PostgreSQL is read after the collections: it is behind nothing that they held before."""
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
    """A checkpoint that PostgreSQL knew neither before nor after the collection was read; or sentinel points, but not of one that is being built."""
    state, live, complete = StoreState.current(), registry.live(), registry.complete_targets()
    for one in seen:
        known = one.known | _known(state)
        if known and one.checkpoint is not None and one.checkpoint["id"] not in known:
            of = state.checkpoint or state.pending_checkpoint or {}
            return (
                f"{one.name!r} has the checkpoint of {one.checkpoint['at']}, and PostgreSQL remembers that of {of.get('at')}: one of the two was restored"
                " to an older copy."
            )
        checkpoint, older = state.checkpoint or {}, False
        remembered = checkpoint.get("newest", {}).get(one.name, []) if one.name in complete else []
        with tolerate_secondary_failure(live, one.name, doing="reading"):
            older = contradict(client, one.name, remembered)
        if older:
            return (
                f"Points in {one.name!r} are older than at {checkpoint['at']}, or gone: it was restored to an older copy, or somebody has deleted or"
                " overwritten points behind FindMe's back."
            )
    return None


def _renew(client: QdrantClient, seen: list[_Seen], *, afresh: bool) -> bool:
    begun = time.monotonic()
    pending = _store_pending({one.name: one.newest for one in seen}, afresh=afresh)
    if pending is None:
        return False
    live = registry.live()
    for name in registry.write_targets():
        if time.monotonic() - begun > RENEWAL_TIMEOUT_SECONDS:
            return False
        with tolerate_secondary_failure(live, name, doing="checkpoint"), _raise_if_not_written(name == live):
            client.update_collection(name, metadata={KEY: _shown(pending)} | ({DELETED: None} if afresh else {}))
            _check_written(client, name, pending)
    return _confirm(pending)


@contextmanager
def _raise_if_not_written(is_live: bool) -> Iterator[None]:
    """A secondary collection, which has just taken its checkpoint, has only itself to blame."""
    try:
        with qdrant():
            yield
    except (ServerError, RequestTimeout) as error:
        if not is_live:
            raise
        raise CheckpointNotWritten(one_line(error)) from error


def _store_pending(newest_points: Mapping[str, Newest], *, afresh: bool) -> Checkpoint | None:
    """The checkpoint that is on its way now: one that somebody did not bring to its end, or a new one. None where somebody else is at it, or was.

    A third one is never begun, since collections may carry the second; and none right after the last, since somebody slow may still write that.
    """
    StoreState.current()
    with short_transaction():
        state = StoreState.objects.select_for_update(skip_locked=not afresh).filter(pk=1).first()
        if state is None or (state.pending_checkpoint is None and not afresh and not is_checkpoint_due()):
            return None
        if state.pending_checkpoint is None or afresh:
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
    """An answer is no proof."""
    if _checkpoint_in(client.get_collection(name)) != _shown(pending):
        raise StoreUnavailable(f"The checkpoint that Qdrant took for {name!r} is not there: check its log, then run it again.")


def _confirm(pending: Checkpoint) -> bool:
    """As it is by now: whoever was erased meanwhile is remembered no longer. False where somebody else was faster, or is at it."""
    try:
        with short_transaction():
            confirmed = StoreState.objects.filter(pending_checkpoint__id=pending["id"])
            return confirmed.update(checkpoint=F("pending_checkpoint"), pending_checkpoint=None, checkpoint_at=TransactionNow()) == 1
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return False
        raise


def _shown(checkpoint: Checkpoint) -> Checkpoint:
    """What of the checkpoint a collection carries: nobody's id."""
    return {name: value for name, value in checkpoint.items() if name != "newest"}
