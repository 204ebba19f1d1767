"""Settings of a collection that a purge changes for a while: noted in PostgreSQL before, put back afterwards, by the next run if this one is killed."""

from __future__ import annotations

from typing import Any, TypeAlias

from qdrant_client import QdrantClient
from qdrant_client.models import CollectionParamsDiff, OptimizersConfigDiff

from findme.core.errors import UserFacingError
from findme.core.waiting import Deadline
from vectorstore.models import StoreState
from vectorstore.queue.transactions import short_transaction

Settings: TypeAlias = dict[str, Any]
"""Of one collection: ``deleted_threshold``, ``vacuum_min_vector_number``, ``on_disk_payload``."""

THOROUGH: Settings = {"deleted_threshold": 0.0, "vacuum_min_vector_number": 100}
"""Qdrant rewrites every segment of 100 points or more that has a deleted one; less than 100 it does not take."""

CONSENSUS_SECONDS = 10.0


def noted() -> dict[str, Settings]:
    """What is to be put back, by collection: by this run, or after one that was killed."""
    found: dict[str, Settings] = StoreState.current().saved_optimizer_settings
    return found


def change(client: QdrantClient, collection: str, settings: Settings) -> None:
    """Give the collection other SETTINGS for a while. What it had is noted first, unless a run that was killed has noted it already."""
    before = _read(client, collection)
    with short_transaction():
        state = _locked()
        known = state.saved_optimizer_settings.get(collection, {})
        state.saved_optimizer_settings[collection] = {name: before[name] for name in settings} | known
        state.save(update_fields=["saved_optimizer_settings"])
    _set(client, collection, settings)


def put_back(client: QdrantClient, collection: str) -> None:
    """What was noted, where the collection is still there and nobody else has set something since; read back, and forgotten."""
    before = noted().get(collection)
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
    return THOROUGH.get(name, not before)


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
    """An answer is no proof; and another node of a cluster than the one that is asked may have agreed to it first. Raises
    UserFacingError."""
    optimizers = {name: value for name, value in settings.items() if name in THOROUGH}
    parameters = {name: value for name, value in settings.items() if name not in THOROUGH}
    client.update_collection(
        collection,
        optimizers_config=OptimizersConfigDiff(**optimizers) if optimizers else None,
        collection_params=CollectionParamsDiff(**parameters) if parameters else None,
    )
    for _ in Deadline(CONSENSUS_SECONDS).polls():
        if (now := {name: _read(client, collection)[name] for name in settings}) == settings:
            return
    raise UserFacingError(f"Qdrant says that it has set {settings} of {collection!r}, and it is {now}: look at its log, and run it again.")
