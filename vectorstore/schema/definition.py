"""Definition of the collection: every setting and payload index, and how Qdrant can change each of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from django.conf import settings
from qdrant_client.models import Distance

from findme.core.errors import UserFacingError
from vectorstore.models import VECTOR_SIZE


class Change(StrEnum):
    """How a difference can be removed.

    ``graph rebuild``: Qdrant rewrites its segments and graphs in the background, and answers from the old ones meanwhile. ``new collection``:
    the setting cannot be changed, or cannot be set back to the defined value. ``adoption`` and ``by hand``: the collection or the alias
    belongs to another database or service.
    """

    IN_PLACE = "in place"
    GRAPH_REBUILD = "graph rebuild"
    NEW_COLLECTION = "new collection"
    ADOPTION = "adoption"
    BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value under ``config`` of ``GET /collections/NAME``, by its path.

    ``unset_is_equal``: if Qdrant shows no value, it behaves as defined.
    """

    path: str
    value: Any
    change: Change
    unset_is_equal: bool = False


Index: TypeAlias = Mapping[str, Any]
"""A payload index: its type and parameters, in Qdrant's format."""

INDEX_DEFAULTS: Index = {
    "is_tenant": False,
    "on_disk": False,
    "memory": "pinned",
    "enable_hnsw": True,
    "prefix": False,
    "lookup": True,
    "range": True,
    "is_principal": False,
}
"""Parameters of an index that does not set them."""


def plain(index: Index) -> dict[str, Any]:
    """Return the index without default values. Two indexes that behave alike are then equal."""
    return {name: value for name, value in index.items() if value is not None and INDEX_DEFAULTS.get(name) != value}


@dataclass(frozen=True, slots=True)
class CollectionDefinition:
    """One unnamed vector, which other services search too, and the payload indexes for filters."""

    size: int
    distance: Distance
    payload_indexes: Mapping[str, Index]

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Return every setting. The changes were observed on real servers. Settings of the cluster come from Django's settings.

        Servers from 1.19 on also know ``memory``, which overrides ``on_disk`` if it is set. Its defined value is their default.
        """
        return (
            Setting("params.vectors.size", self.size, Change.NEW_COLLECTION),
            Setting("params.vectors.distance", self.distance.value, Change.NEW_COLLECTION),
            Setting("params.vectors.datatype", "float32", Change.NEW_COLLECTION, unset_is_equal=True),
            Setting("params.vectors.multivector_config", None, Change.NEW_COLLECTION),
            Setting("params.vectors.on_disk", False, Change.GRAPH_REBUILD, unset_is_equal=True),
            Setting("params.vectors.memory", "cached", Change.GRAPH_REBUILD, unset_is_equal=True),
            Setting("params.vectors.quantization_config", None, Change.GRAPH_REBUILD),
            Setting("params.sparse_vectors", None, Change.NEW_COLLECTION),
            *self._cluster(),
            Setting("params.on_disk_payload", True, Change.GRAPH_REBUILD),
            Setting("params.payload.memory", "cold", Change.GRAPH_REBUILD, unset_is_equal=True),
            *self._graph(),
            *self._optimizers(),
            Setting("wal_config.wal_capacity_mb", 32, Change.NEW_COLLECTION),
            Setting("wal_config.wal_segments_ahead", 0, Change.NEW_COLLECTION),
            Setting("wal_config.wal_retain_closed", 1, Change.NEW_COLLECTION, unset_is_equal=True),
            Setting("quantization_config", None, Change.GRAPH_REBUILD),
            # Off, so that other services can search by any field. Its limits have no effect then and are not compared.
            Setting("strict_mode_config.enabled", False, Change.IN_PLACE, unset_is_equal=True),
        )

    def _cluster(self) -> tuple[Setting, ...]:
        """Return the settings of the cluster. Raise UserFacingError if a write would wait for more replicas than there are."""
        replicas, consistency = settings.QDRANT_REPLICATION_FACTOR, settings.QDRANT_WRITE_CONSISTENCY_FACTOR
        if consistency > replicas:
            raise UserFacingError(
                f"QDRANT_WRITE_CONSISTENCY_FACTOR is {consistency!r} and QDRANT_REPLICATION_FACTOR is {replicas!r}: no write could succeed."
                " Set the first to at most the second."
            )
        return (
            Setting("params.shard_number", settings.QDRANT_SHARD_NUMBER, Change.NEW_COLLECTION),
            Setting("params.sharding_method", "auto", Change.NEW_COLLECTION, unset_is_equal=True),
            Setting("params.replication_factor", replicas, Change.IN_PLACE),
            Setting("params.write_consistency_factor", consistency, Change.IN_PLACE),
            Setting("params.read_fan_out_factor", 0, Change.IN_PLACE, unset_is_equal=True),
            Setting("params.read_fan_out_delay_ms", 0, Change.IN_PLACE, unset_is_equal=True),
        )

    def _graph(self) -> tuple[Setting, ...]:
        """Return the HNSW settings. ``full_scan_threshold`` is in kilobytes of vectors per segment: 10000 is about 5,000 of our vectors."""
        return (
            Setting("hnsw_config.m", 16, Change.GRAPH_REBUILD),
            Setting("hnsw_config.ef_construct", 100, Change.GRAPH_REBUILD),
            Setting("hnsw_config.full_scan_threshold", 10000, Change.GRAPH_REBUILD),
            Setting("hnsw_config.max_indexing_threads", 0, Change.IN_PLACE),
            Setting("hnsw_config.on_disk", False, Change.GRAPH_REBUILD, unset_is_equal=True),
            Setting("hnsw_config.memory", "cached", Change.GRAPH_REBUILD, unset_is_equal=True),
            Setting("hnsw_config.payload_m", 16, Change.GRAPH_REBUILD, unset_is_equal=True),
            Setting("hnsw_config.inline_storage", False, Change.GRAPH_REBUILD, unset_is_equal=True),
        )

    def _optimizers(self) -> tuple[Setting, ...]:
        """Return the optimizer settings. ``indexing_threshold`` is in the same kilobytes: a smaller segment has no graph."""
        return (
            Setting("optimizer_config.deleted_threshold", 0.2, Change.IN_PLACE),
            Setting("optimizer_config.vacuum_min_vector_number", 1000, Change.IN_PLACE),
            Setting("optimizer_config.default_segment_number", 0, Change.IN_PLACE),
            # By default it depends on the number of processors. Once set, Qdrant cannot return to the default.
            Setting("optimizer_config.max_segment_size", None, Change.NEW_COLLECTION),
            Setting("optimizer_config.memmap_threshold", 0, Change.GRAPH_REBUILD, unset_is_equal=True),
            Setting("optimizer_config.indexing_threshold", 10000, Change.IN_PLACE),
            Setting("optimizer_config.flush_interval_sec", 5, Change.IN_PLACE),
            Setting("optimizer_config.max_optimization_threads", "auto", Change.IN_PLACE, unset_is_equal=True),
            Setting("optimizer_config.prevent_unoptimized", False, Change.IN_PLACE, unset_is_equal=True),
        )

    def hash(self) -> str:
        """Return the SHA-256 in hexadecimal. Two collections with the same hash have the same definition."""
        whole = {"settings": {one.path: one.value for one in self.settings}, "payload_indexes": self.payload_indexes}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


DEFINITION = CollectionDefinition(
    size=VECTOR_SIZE,
    distance=Distance.COSINE,
    # The fields of search filters. user_id is the point's id and needs no index. created_at and video_features are only read.
    payload_indexes={
        "gender": {"type": "keyword"},
        "age": {"type": "integer"},
        "age_group": {"type": "keyword"},
        "active": {"type": "bool"},
        "verified": {"type": "bool"},
        "location": {"type": "geo"},
        "interests": {"type": "keyword"},
        # The condition of every write compares it.
        "version": {"type": "integer", "lookup": False, "range": True},
    },
)
