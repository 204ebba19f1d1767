"""Change settings of a collection temporarily: for a vacuum, and to fence a collection against writes.

The values before are saved in PostgreSQL first and restored afterwards. If the process is killed, a later run restores them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from qdrant_client import QdrantClient
from qdrant_client.models import CollectionConfig, StrictModeConfig, UpdateCollection

from findme.core.errors import UserFacingError
from findme.core.waiting import Deadline
from vectorstore.catalog.alias import collection_names
from vectorstore.catalog.cluster import CONSENSUS_SECONDS
from vectorstore.models import StoreState
from vectorstore.queue.transactions import short_transaction

Settings: TypeAlias = dict[str, Any]
"""Values of ``SETTINGS`` by name."""

Saved: TypeAlias = Mapping[str, Settings]
"""Settings to restore by name, each with ``BEFORE`` and ``DURING``."""

BEFORE, DURING = "before", "during"
"""Keys of a saved setting: the value to restore, and the temporary one."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a collection's configuration: how it is read, and its key in the request that changes it."""

    read: Callable[[CollectionConfig], Any]
    key: str


OPTIMIZER = _Part(lambda config: config.optimizer_config, "optimizers_config")
PARAMETERS = _Part(lambda config: config.params, "params")
STRICT_MODE = _Part(lambda config: config.strict_mode_config, "strict_mode_config")

LIMITS = frozenset(StrictModeConfig.model_fields) - {"enabled", "multivector_config", "sparse_config", "max_resident_memory_percent"}
"""The limits of strict mode that one number or one boolean says."""

SETTINGS: Mapping[str, _Part] = {
    "deleted_threshold": OPTIMIZER,
    "vacuum_min_vector_number": OPTIMIZER,
    "on_disk_payload": PARAMETERS,
    **dict.fromkeys(["enabled", *sorted(LIMITS)], STRICT_MODE),
}
"""The settings that can be changed temporarily. Those of strict mode limit the requests of clients."""

DEFAULTS: Settings = {"on_disk_payload": False, "enabled": False}
"""Values that Qdrant may report as unset."""

UNLIMITED = 2**62
"""Restored for a limit that was not set, because a request cannot unset it."""


def saved_settings() -> dict[str, dict[str, Settings]]:
    """Return the settings to restore, by collection and name, each with ``BEFORE`` and ``DURING``. This run or a killed one has saved them."""
    found: dict[str, dict[str, Settings]] = StoreState.current().saved_settings
    return found


def change_settings(client: QdrantClient, collection: str, settings: Settings) -> Saved:
    """Save the old values in PostgreSQL, then apply ``settings`` and read them back. Return what is saved.

    Values that a killed run has saved are not overwritten. Raises UserFacingError if Qdrant reports other values afterwards.
    """
    before = _read(client, collection)
    with short_transaction():
        state = StoreState.locked()
        known: dict[str, Settings] = state.saved_settings.get(collection, {})
        saved = {name: {BEFORE: known.get(name, {}).get(BEFORE, before[name]), DURING: value} for name, value in settings.items()}
        state.saved_settings[collection] = saved = known | saved
        state.save(update_fields=["saved_settings"])
    _set(client, collection, settings)
    return saved


def restore_settings(client: QdrantClient, collection: str) -> None:
    """Restore the saved settings, read them back, and delete the saved values.

    Skips a setting that an operator has changed since, and a collection that no longer exists. An alias with its name is not followed.
    """
    saved = saved_settings().get(collection)
    if saved is None:
        return
    restore_values(client, collection, saved)
    forget_settings(collection)


def restore_values(client: QdrantClient, collection: str, saved: Saved) -> None:
    """Restore ``saved`` settings without PostgreSQL. Skips the same as ``restore_settings``."""
    if collection in collection_names(client):
        _restore(client, collection, saved)


def end_strict_mode(client: QdrantClient, copy: str, original: str) -> None:
    """Restore in a copy of ``original`` what is saved for ``original``, but switch strict mode off.

    It limits the requests of other programs. FindMe deletes users' points from the copy, which it must not refuse.
    """
    _restore(client, copy, saved_settings().get(original, {}))
    _set(client, copy, {"enabled": False})


def forget_settings(collection: str) -> None:
    """Delete the saved values, for a collection that was deleted."""
    with short_transaction():
        state = StoreState.locked()
        if state.saved_settings.pop(collection, None) is not None:
            state.save(update_fields=["saved_settings"])


def _restore(client: QdrantClient, collection: str, saved: Saved) -> None:
    now = _read(client, collection)
    ours = {name: _settable(name, one[BEFORE]) for name, one in saved.items() if now[name] == one[DURING]}
    if ours:
        _set(client, collection, ours)


def _settable(name: str, value: Any) -> Any:
    return UNLIMITED if value is None and SETTINGS[name] is STRICT_MODE else value


def _read(client: QdrantClient, collection: str) -> Settings:
    answer = client.http.collections_api.get_collection(collection).result
    assert answer is not None
    config = answer.config
    found = {name: getattr(part.read(config), name, None) for name, part in SETTINGS.items()}
    return {name: DEFAULTS.get(name) if value is None else value for name, value in found.items()}


def _set(client: QdrantClient, collection: str, settings: Settings) -> None:
    """Apply ``settings`` by REST, which was tested, and read them back. Raises UserFacingError if they differ.

    Qdrant's answer does not prove the change. In a cluster, the queried node may also lag behind the node that confirmed it.
    """
    request: dict[str, Settings] = {}
    for name, value in settings.items():
        request.setdefault(SETTINGS[name].key, {})[name] = value
    client.http.collections_api.update_collection(collection, update_collection=UpdateCollection.model_validate(request))
    for _ in Deadline(CONSENSUS_SECONDS).polls():
        if (now := {name: _read(client, collection)[name] for name in settings}) == settings:
            return
    raise UserFacingError(
        f"Qdrant confirmed {settings} for {collection!r}, but reports {now}. Check Qdrant's log, then run the command again."
    )
