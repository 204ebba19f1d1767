"""The collections of a database that was restored: forget those of the backup, then know those that Qdrant has.

A restored database has the rows of the collections, the checkpoint and the version sequence of the time of the backup. With them, a worker would write
to a collection that has changed since, or to one that no longer exists.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from django.contrib.postgres.functions import TransactionNow
from django.db import transaction
from qdrant_client import QdrantClient
from qdrant_client.models import CollectionInfo

from findme.core.plurals import counted
from vectorstore.catalog import registry
from vectorstore.catalog.alias import alias_target, collection_names, may_be_ours
from vectorstore.catalog.ownership import ADOPTING, APP_VERSION, DATABASE, DEFINED_AT, DEFINITION_HASH, database_id
from vectorstore.consistency.checkpoint import KEY, write_checkpoint
from vectorstore.consistency.deletions import deleted_at
from vectorstore.consistency.versions import highest, last_allocated, raise_above
from vectorstore.models import StoreState, VectorCollection, Verification
from vectorstore.qdrant.connection import collection_name

State = VectorCollection.State


@dataclass(frozen=True, slots=True)
class Registered:
    """What ``register_found`` has found. ``others`` have a name of FindMe and belong to another database, or to none.

    ``live`` is None if the alias is missing, or points to a collection that is not this database's.
    """

    live: str | None
    retained: tuple[str, ...]
    others: tuple[str, ...]


def forget_collections(*, new_id: bool = False) -> str:
    """Forget all collections, checkpoints, days of ages and verifications of the time of the backup. Qdrant is not asked.

    Afterwards this database writes to no collection that exists, until one is built, or ``register_found`` registers it. The id of the database stays, so the
    collections are still its own. Use ``new_id`` for a copy that will serve next to the database it was made of: otherwise both would own, and
    write, one collection.
    """
    with transaction.atomic():
        state = StoreState.locked()
        forgotten = VectorCollection.objects.all().delete()[0]
        Verification.objects.all().delete()
        state.checkpoint = state.pending_checkpoint = state.checkpoint_at = None
        state.ages_refreshed_on = state.ages_last_entry_id = state.ages_valid_on = None
        if new_id:
            state.database_id, state.saved_settings, state.downloads = uuid4(), {}, []
        state.downloads = list(filter(_may_exist, state.downloads))
        state.save()
    if not forgotten:
        return ""
    return f"{counted(forgotten, 'collection')} of the time of the backup {'was' if forgotten == 1 else 'were'} forgotten."


def register_found(client: QdrantClient, *, compared: bool) -> Registered:
    """Register the collections that Qdrant has for this database: the target of the alias as live, the others as retained until an operator drops them.

    A collection that is registered already keeps its definition. Saved settings of collections that are gone are forgotten. ``compared`` says that the live
    collection agrees with PostgreSQL. Otherwise no worker writes until ``verify_qdrant --repair`` has compared the stores: PostgreSQL gets a checkpoint that no
    collection has. A retained collection may differ in any case. Call this only under ``collection_lock``.
    """
    target, own, live = alias_target(client), database_id(), None
    retained, others = list[str](), list[str]()
    names = collection_names(client)
    for name in sorted(filter(may_be_ours, names)):
        metadata = client.get_collection(name).config.metadata or {}
        if metadata.get(DATABASE) != own or metadata.get(ADOPTING):
            others.append(name)
        elif name == target and name != registry.copy_name():
            live = name
        else:
            retained.append(name)
    with transaction.atomic():
        state = StoreState.locked()
        state.saved_settings = {name: saved for name, saved in state.saved_settings.items() if name in names}
        if not compared:
            state.checkpoint, state.pending_checkpoint, state.checkpoint_at = _unknown_checkpoint(), None, datetime.now(UTC)
        state.save()
        registry.rows().filter(state=State.LIVE).exclude(name=live).update(state=State.RETAINED)
        for name in filter(None, [*retained, live]):
            _register(client, name, is_live=name == live)
    for name in filter(None, [live, *retained] if compared else []):
        write_checkpoint(client, name)
    return Registered(live, tuple(retained), tuple(others))


def raise_above_found(client: QdrantClient) -> int:
    """Set the version sequence above every version in Qdrant. Return the highest one found. Qdrant is only read.

    Otherwise Qdrant would refuse the writes of this database without an error (protocol rule 9). Do not call this inside a transaction.
    """
    found = max(_versions(client), default=0)
    raise_above(found)
    return found


def _unknown_checkpoint() -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"id": str(uuid4()), "version": last_allocated(), "at": now, "newest": {}}


def _may_exist(download: dict[str, Any]) -> bool:
    """Return whether the downloaded snapshot may still be there, on this machine or on another one."""
    is_here = download["host"] == socket.gethostname()
    return not is_here or bool(download.get("snapshots")) or os.path.lexists(download["folder"])


def _register(client: QdrantClient, name: str, *, is_live: bool) -> None:
    metadata = client.get_collection(name).config.metadata or {}
    row = VectorCollection.objects.filter(name=name).first()
    if row is None:
        row = VectorCollection(
            name=name,
            definition_hash=str(metadata.get(DEFINITION_HASH, "")),
            app_version=str(metadata.get(APP_VERSION, "")),
            defined_at=_time(metadata.get(DEFINED_AT)),
        )
    row.alias, row.state = collection_name(), State.LIVE if is_live else State.RETAINED
    row.retain_until, row.failure_reason = None, ""
    row.save()
    # It was live once: other programs may have written to it.
    VectorCollection.objects.filter(name=name, live_since=None).update(live_since=TransactionNow())


def _time(value: object) -> datetime:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return datetime.now(UTC)


def _versions(client: QdrantClient) -> Iterator[int]:
    own = database_id()
    for name in collection_names(client):
        found = client.get_collection(name)
        if may_be_ours(name) or (found.config.metadata or {}).get(DATABASE) == own:
            yield highest(client, name)
            yield deleted_at(found)
            yield _checkpoint_version(found)


def _checkpoint_version(found: CollectionInfo) -> int:
    checkpoint = (found.config.metadata or {}).get(KEY)
    version = checkpoint.get("version") if isinstance(checkpoint, dict) else None
    return version if isinstance(version, int) else 0
