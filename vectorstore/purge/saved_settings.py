"""Change settings of a collection temporarily.

A purge first saves the old values in PostgreSQL and restores them afterwards. If it is killed, the next run restores them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from qdrant_client import QdrantClient
from qdrant_client.models import CollectionParamsDiff, OptimizersConfigDiff

from findme.core.errors import UserFacingError
from findme.core.waiting import Deadline
from vectorstore.catalog.cluster import CONSENSUS_SECONDS
from vectorstore.models import StoreState
from vectorstore.queue.transactions import short_transaction

Settings: TypeAlias = dict[str, Any]
"""Settings of one collection: ``deleted_threshold``, ``vacuum_min_vector_number``, ``on_disk_payload``."""

FULL_VACUUM: Settings = {"deleted_threshold": 0.0, "vacuum_min_vector_number": 100}
"""Make Qdrant rewrite every segment of at least 100 points that has a deleted one. Qdrant accepts no number below 100."""


def saved_settings() -> dict[str, Settings]:
    """Return the settings to restore, by collection. This run or a killed one has saved them."""
    found: dict[str, Settings] = StoreState.current().saved_optimizer_settings
    return found


def change_settings(client: QdrantClient, collection: str, settings: Settings) -> None:
    """Save the old values in PostgreSQL, then apply ``settings``. Values that a killed run has saved are not overwritten."""
    before = _read(client, collection)
    with short_transaction():
        state = _locked()
        known = state.saved_optimizer_settings.get(collection, {})
        state.saved_optimizer_settings[collection] = {name: before[name] for name in settings} | known
        state.save(update_fields=["saved_optimizer_settings"])
    _set(client, collection, settings)


def restore_settings(client: QdrantClient, collection: str) -> None:
    """Restore the saved settings, read them back, and delete the saved values.

    Skips a setting that an operator has changed since, and a collection that no longer exists.
    """
    before = saved_settings().get(collection)
    if before is None:
        return
    if client.collection_exists(collection):
        now = _read(client, collection)
        ours = {name: value for name, value in before.items() if now[name] == _while_purging(name, value)}
        if ours:
            _set(client, collection, ours)
    with short_transaction():
        state = _locked()
        state.saved_optimizer_settings.pop(collection, None)
        state.save(update_fields=["saved_optimizer_settings"])


def _while_purging(name: str, before: Any) -> Any:
    return FULL_VACUUM.get(name, not before)


def _locked() -> StoreState:
    StoreState.current()
    return StoreState.objects.select_for_update().get(pk=1)


def _read(client: QdrantClient, collection: str) -> Settings:
    config = client.get_collection(collection).config
    return {
        "deleted_threshold": config.optimizer_config.deleted_threshold,
        "vacuum_min_vector_number": config.optimizer_config.vacuum_min_vector_number,
        "on_disk_payload": bool(config.params.on_disk_payload),
    }


def _set(client: QdrantClient, collection: str, settings: Settings) -> None:
    """Apply ``settings`` and read them back. Raises UserFacingError if they differ.

    Qdrant's answer does not prove the change. In a cluster, the queried node may also lag behind the node that confirmed it.
    """
    optimizers = {name: value for name, value in settings.items() if name in FULL_VACUUM}
    parameters = {name: value for name, value in settings.items() if name not in FULL_VACUUM}
    client.update_collection(
        collection,
        optimizers_config=OptimizersConfigDiff(**optimizers) if optimizers else None,
        collection_params=CollectionParamsDiff(**parameters) if parameters else None,
    )
    for _ in Deadline(CONSENSUS_SECONDS).polls():
        if (now := {name: _read(client, collection)[name] for name in settings}) == settings:
            return
    raise UserFacingError(
        f"Qdrant confirmed {settings} for {collection!r}, but reports {now}. Check Qdrant's log, then run the command again."
    )
