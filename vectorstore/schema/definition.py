"""What the collection must look like: every setting of it and every payload index, with what Qdrant has to do to change each."""

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
    """What it takes. ``graph rebuild``: Qdrant writes its segments anew, with their graphs, in the background, while it answers from the old
    ones. ``new collection``: it cannot be changed at all, or not back to what is defined. The other two are about whose the collection
    is."""

    IN_PLACE = "in place"
    GRAPH_REBUILD = "graph rebuild"
    NEW_COLLECTION = "new collection"
    ADOPTION = "adoption"
    BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of what ``GET /collections/NAME`` shows under ``config``, by its path. ``unset_is_equal``: where Qdrant shows none, it does what
    is defined."""

    path: str
    value: Any
    change: Change
    unset_is_equal: bool = False


Index: TypeAlias = Mapping[str, Any]
"""A payload index: its type and parameters, as Qdrant takes them."""

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
"""What an index is where it does not say."""


def plain(index: Index) -> dict[str, Any]:
    """INDEX without what goes without saying: two that do the same are equal."""
    return {name: value for name, value in index.items() if value is not None and INDEX_DEFAULTS.get(name) != value}


@dataclass(frozen=True, slots=True)
class CollectionDefinition:
    """One unnamed vector, as other services search it, and what they filter by."""

    size: int
    distance: Distance
    payload_indexes: Mapping[str, Index]

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every setting, those of the cluster as the project's settings say now. Which change takes what was seen on a server.

        Servers from 1.19 on know ``memory`` as well, which wins over ``on_disk`` where it is set: what is defined is what they do without.
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
            # Off: other services search the collection by whatever they like. Its limits are without effect then, and are not compared.
            Setting("strict_mode_config.enabled", False, Change.IN_PLACE, unset_is_equal=True),
        )

    def _cluster(self) -> tuple[Setting, ...]:
        """Raises UserFacingError for a write that would wait for more replicas than there are."""
        replicas, waited_for = settings.QDRANT_REPLICATION_FACTOR, settings.QDRANT_WRITE_CONSISTENCY_FACTOR
        if waited_for > replicas:
            raise UserFacingError(
                f"QDRANT_WRITE_CONSISTENCY_FACTOR is {waited_for!r}, and QDRANT_REPLICATION_FACTOR {replicas!r}: no write could ever be done. Set the"
                " first to at most the second."
            )
        return (
            Setting("params.shard_number", settings.QDRANT_SHARD_NUMBER, Change.NEW_COLLECTION),
            Setting("params.sharding_method", "auto", Change.NEW_COLLECTION, unset_is_equal=True),
            Setting("params.replication_factor", replicas, Change.IN_PLACE),
            Setting("params.write_consistency_factor", waited_for, Change.IN_PLACE),
            Setting("params.read_fan_out_factor", 0, Change.IN_PLACE, unset_is_equal=True),
            Setting("params.read_fan_out_delay_ms", 0, Change.IN_PLACE, unset_is_equal=True),
        )

    def _graph(self) -> tuple[Setting, ...]:
        """Qdrant counts ``full_scan_threshold`` in kilobytes of vectors a segment: 10000 is about 5,000 vectors of 512 numbers."""
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
        """``indexing_threshold`` counts the same kilobytes: a smaller segment has no graph."""
        return (
            Setting("optimizer_config.deleted_threshold", 0.2, Change.IN_PLACE),
            Setting("optimizer_config.vacuum_min_vector_number", 1000, Change.IN_PLACE),
            Setting("optimizer_config.default_segment_number", 0, Change.IN_PLACE),
            # By the number of processors; once set, Qdrant does not go back to that.
            Setting("optimizer_config.max_segment_size", None, Change.NEW_COLLECTION),
            Setting("optimizer_config.memmap_threshold", 0, Change.GRAPH_REBUILD, unset_is_equal=True),
            Setting("optimizer_config.indexing_threshold", 10000, Change.IN_PLACE),
            Setting("optimizer_config.flush_interval_sec", 5, Change.IN_PLACE),
            Setting("optimizer_config.max_optimization_threads", "auto", Change.IN_PLACE, unset_is_equal=True),
            Setting("optimizer_config.prevent_unoptimized", False, Change.IN_PLACE, unset_is_equal=True),
        )

    def hash(self) -> str:
        """SHA-256, in hexadecimal: two collections with the same one were defined alike."""
        whole = {"settings": {one.path: one.value for one in self.settings}, "payload_indexes": self.payload_indexes}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


DEFINITION = CollectionDefinition(
    size=VECTOR_SIZE,
    distance=Distance.COSINE,
    # What a search filters by. Not user_id, which is the point's id and is filtered by as such; created_at and video_features are read only.
    payload_indexes={
        "gender": {"type": "keyword"},
        "age": {"type": "integer"},
        "age_group": {"type": "keyword"},
        "active": {"type": "bool"},
        "verified": {"type": "bool"},
        "location": {"type": "geo"},
        "interests": {"type": "keyword"},
        # What the condition of every write compares.
        "version": {"type": "integer", "lookup": False, "range": True},
    },
)
