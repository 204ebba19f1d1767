"""Compare the collection in Qdrant with the definition: settings, payload indexes and metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from django.conf import settings
from qdrant_client.models import CollectionConfig, CollectionInfo, PayloadIndexInfo, VectorParams

from vectorstore.catalog.alias import is_ours
from vectorstore.catalog.ownership import ADOPTING, DATABASE, DEFINITION_HASH, database_id, metadata_of
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name, is_embedded
from vectorstore.schema.definition import DEFINITION, Change, Setting, plain
from vectorstore.schema.live import Live

EMBEDDED_SETTINGS = frozenset({"params.vectors.size", "params.vectors.distance", "params.vectors.multivector_config"})
"""Settings that the embedded store has too. It drops all others, and reports made-up values for them."""

NOT_COMPARED = ("metadata", "strict_mode_config", "params.vectors.hnsw_config")
"""Paths that are compared separately or have no effect."""

Values: TypeAlias = dict[str, Any]
"""Values of a configuration by path, without unset ones."""


class State(StrEnum):
    """The result of a comparison. Settings that the embedded store does not have are not applicable."""

    EQUAL = "equal"
    MISSING = "missing"
    DIFFERENT = "different"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One defined value (such as "hnsw_config.m"), the live value, and how the difference can be removed."""

    what: str
    defined: Any
    live: Any
    state: State
    change: Change | None = None

    def __str__(self) -> str:
        live = "missing" if self.state is State.MISSING else _as_text(self.live)
        return f"{self.what}: {live}, expected {_as_text(self.defined)} ({self.change})"


def comparisons(live: Live) -> Iterator[Comparison]:
    """Yield a comparison for everything that is defined, and for what exists without being defined."""
    alias = collection_name()
    if live.name_taken:
        yield Comparison(f"name {alias!r}", "an alias", "a real collection", State.DIFFERENT, Change.ADOPTION)
    elif live.alias_of is not None and not is_ours(live.alias_of):
        yield Comparison(f"alias {alias!r}", f"{alias}_v1", live.alias_of, State.DIFFERENT, Change.BY_HAND)
    else:
        yield _compared(f"collection {live.collection!r}", "there", "there" if live.found else None, Change.IN_PLACE)
        if live.found is not None:
            yield from _compare_collection(live, live.found)
        yield from _compare_rows(live)
        yield _compared(f"alias {alias!r}", live.collection, live.alias_of, Change.IN_PLACE)


def _compare_collection(live: Live, found: CollectionInfo) -> Iterator[Comparison]:
    yield from _compare_settings(found.config)
    yield from _compare_indexes(found.payload_schema)
    for shard, replicas in live.missing_replicas.items():
        yield Comparison(f"replicas of shard {shard}", settings.QDRANT_REPLICATION_FACTOR, replicas, State.DIFFERENT, Change.IN_PLACE)
    yield from _compare_metadata(live, found.config.metadata or {})


def _compare_settings(config: CollectionConfig) -> Iterator[Comparison]:
    vectors = config.params.vectors
    if (vectors is not None and not isinstance(vectors, VectorParams)) or not vectors:
        names = f"those named {', '.join(map(repr, sorted(vectors)))}" if vectors else "none"
        yield Comparison("params.vectors", "one without a name", names, State.DIFFERENT, Change.NEW_COLLECTION)
    values = _values(config)
    for setting in DEFINITION.settings:
        if isinstance(vectors, VectorParams) or not setting.path.startswith("params.vectors."):
            yield _compare_setting(setting, values)
    if not is_embedded():
        yield from _undefined(values)


def _compare_setting(setting: Setting, values: Values) -> Comparison:
    if is_embedded() and setting.path not in EMBEDDED_SETTINGS:
        return Comparison(setting.path, setting.value, None, State.NOT_APPLICABLE)
    live = values.get(setting.path)
    if live is None and setting.unset_is_equal:
        live = setting.value
    if setting.value is None and live is None:
        return Comparison(setting.path, None, None, State.EQUAL)
    return _compared(setting.path, setting.value, live, setting.change)


def _values(config: CollectionConfig) -> Values:
    """Return all values. A vector's own graph settings override the collection's."""
    tree = config.model_dump(mode="json", exclude_none=True)
    vectors = config.params.vectors
    if isinstance(vectors, VectorParams) and vectors.hnsw_config:
        tree["hnsw_config"] |= vectors.hnsw_config.model_dump(mode="json", exclude_none=True)
    return dict(_leaves(tree, "", frozenset(setting.path for setting in DEFINITION.settings)))


def _leaves(tree: Mapping[str, Any], prefix: str, whole: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Yield each value with its path. Values at the paths of ``whole`` are not split further."""
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and path not in whole:
            yield from _leaves(value, f"{path}.", whole)
        else:
            yield path, value


def _undefined(values: Values) -> Iterator[Comparison]:
    """Yield settings that were set but are not defined: their defaults are unknown. Named vectors are reported as a whole."""
    defined = {setting.path for setting in DEFINITION.settings}
    named = not any(path == "params.vectors.size" for path in values)
    for path, value in values.items():
        if path in defined or path.startswith(NOT_COMPARED) or (named and path.startswith("params.vectors.")):
            continue
        yield Comparison(path, None, value, State.DIFFERENT, Change.NEW_COLLECTION)


def _compare_indexes(schema: Mapping[str, PayloadIndexInfo]) -> Iterator[Comparison]:
    for field, index in DEFINITION.payload_indexes.items():
        if is_embedded():
            yield Comparison(f"payload_schema.{field}", plain(index), None, State.NOT_APPLICABLE)
        else:
            yield _compared(f"payload_schema.{field}", plain(index), _index(schema.get(field)), Change.IN_PLACE)
    for field in () if is_embedded() else sorted(schema.keys() - DEFINITION.payload_indexes.keys()):
        yield Comparison(f"payload_schema.{field}", None, _index(schema[field]), State.DIFFERENT, Change.IN_PLACE)


def _index(found: PayloadIndexInfo | None) -> dict[str, Any] | None:
    if found is None:
        return None
    parameters = found.params.model_dump(mode="json") if found.params else {}
    return plain(parameters | {"type": found.data_type.value})


def _compare_metadata(live: Live, metadata: Mapping[str, Any]) -> Iterator[Comparison]:
    """Compare the owner, the definition's hash, its release and its time with the row. Without a row, compare owner and hash only."""
    row = live.rows.get(live.collection)
    expected = metadata_of(row) if row else {DATABASE: database_id(), DEFINITION_HASH: DEFINITION.hash()}
    for name, value in (expected | {DEFINITION_HASH: DEFINITION.hash()}).items():
        change = Change.ADOPTION if name == DATABASE and live.ownership_problem else Change.IN_PLACE
        yield _compared(f"metadata.{name}", value, metadata.get(name), change)
    if metadata.get(ADOPTING):
        yield Comparison(f"metadata.{ADOPTING}", None, metadata[ADOPTING], State.DIFFERENT, Change.ADOPTION)


def _compare_rows(live: Live) -> Iterator[Comparison]:
    """Compare the registry: the collection must be live, and no row may name a collection that Qdrant has lost."""
    row = live.rows.get(live.collection)
    yield _compared(f"noted {live.collection!r}", "live", str(row.state) if row else None, Change.IN_PLACE)
    if row is not None:
        yield _compared(f"noted {live.collection!r}.definition_hash", DEFINITION.hash(), row.definition_hash, Change.IN_PLACE)
    for name in lost(live):
        yield Comparison(f"noted {name!r}", None, str(live.rows[name].state), State.DIFFERENT, Change.IN_PLACE)


def lost(live: Live) -> list[str]:
    """Return the live or retained collections of the registry, except the compared one, that are gone from Qdrant."""
    states = {VectorCollection.State.LIVE, VectorCollection.State.RETAINED}
    return sorted(name for name, row in live.rows.items() if name not in live.names and name != live.collection and row.state in states)


def _compared(what: str, defined: Any, live: Any, change: Change) -> Comparison:
    if live is None:
        return Comparison(what, defined, None, State.MISSING, change)
    return Comparison(what, defined, live, State.EQUAL) if live == defined else Comparison(what, defined, live, State.DIFFERENT, change)


def _as_text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case {"type": kind, **parameters}:
            return f"{kind} {json.dumps(parameters, sort_keys=True)}" if parameters else str(kind)
        case str():
            return value
    return json.dumps(value, sort_keys=True)
