"""What has to change for the live collection to be as declared: read in full, compared, applied. Only what is declared is compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.models import (
    CollectionConfig,
    CollectionInfo,
    CreateAlias,
    CreateAliasOperation,
    HnswConfigDiff,
    IntegerIndexParams,
    OptimizersConfigDiff,
    PayloadIndexInfo,
    PayloadSchemaType,
    VectorParams,
    VectorParamsDiff,
)

from vectorstore.collection import DECLARATION, Live, is_ours, read_live
from vectorstore.connection import collection_name, is_embedded


class State(StrEnum):
    """How a declared thing compares. What is incompatible cannot be changed in place; what the embedded store does not have is not applicable."""

    EQUAL = "equal"
    MISSING = "missing"
    DIFFERENT = "different"
    INCOMPATIBLE = "incompatible"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One declared thing ("hnsw_config.m"), as it is declared and as it is."""

    what: str
    declared: Any
    live: Any
    state: State

    def __str__(self) -> str:
        if self.state is State.MISSING:
            return f"{self.what}: missing, is to be {self.declared}"
        cannot = ", which cannot be changed in place" if self.state is State.INCOMPATIBLE else ""
        return f"{self.what}: {self.live}, is to be {self.declared}{cannot}"


@dataclass(frozen=True, slots=True)
class Plan:
    """``collection`` is the real one, behind ``alias`` or meant for it."""

    alias: str
    collection: str
    embedded: bool
    comparisons: tuple[Comparison, ...]

    @property
    def differences(self) -> list[Comparison]:
        return [one for one in self.comparisons if one.state in {State.MISSING, State.DIFFERENT, State.INCOMPATIBLE}]

    @property
    def incompatible(self) -> list[Comparison]:
        return [one for one in self.comparisons if one.state is State.INCOMPATIBLE]

    def differs(self, prefix: str) -> bool:
        return any(one.what.startswith(prefix) for one in self.differences)


def plan(client: QdrantClient) -> Plan:
    """Compare everything that is declared. Changes nothing; raises StoreUnavailable."""
    live = read_live(client)
    return Plan(collection_name(), live.collection, is_embedded(), tuple(_comparisons(live)))


def apply(client: QdrantClient, planned: Plan, metadata: Mapping[str, Any]) -> None:
    """Make the differences go away: the collection with METADATA first, then its indexes, the alias last, so that
    nobody sees it half made.

    Killed anywhere in between, the next plan has what is left. The caller has refused what is incompatible.
    """
    if planned.differs("collection "):
        _create(client, planned.collection, metadata)
    elif planned.differs("hnsw_config.") or planned.differs("optimizer_config."):
        _update(client, planned.collection)
    for field, kind in DECLARATION.payload_indexes.items():
        if planned.differs(f"payload_schema.{field}"):
            client.create_payload_index(planned.collection, field_name=field, field_schema=kind, wait=True)
    if planned.differs("alias "):
        alias = CreateAlias(collection_name=planned.collection, alias_name=planned.alias)
        client.update_collection_aliases([CreateAliasOperation(create_alias=alias)])


def _create(client: QdrantClient, collection: str, metadata: Mapping[str, Any]) -> None:
    client.create_collection(
        collection,
        vectors_config=VectorParams(size=DECLARATION.size, distance=DECLARATION.distance),
        hnsw_config=HnswConfigDiff.model_validate(DECLARATION.hnsw),
        optimizers_config=OptimizersConfigDiff.model_validate(DECLARATION.optimizers),
        metadata=dict(metadata),
    )


def _update(client: QdrantClient, collection: str) -> None:
    """A vector's own graph settings win over the collection's: where it has some, they are set as well."""
    vectors = client.get_collection(collection).config.params.vectors
    hnsw = HnswConfigDiff.model_validate(DECLARATION.hnsw)
    client.update_collection(
        collection,
        hnsw_config=hnsw,
        optimizers_config=OptimizersConfigDiff.model_validate(DECLARATION.optimizers),
        vectors_config={"": VectorParamsDiff(hnsw_config=hnsw)} if isinstance(vectors, VectorParams) and vectors.hnsw_config else None,
    )


def _comparisons(live: Live) -> Iterator[Comparison]:
    alias = collection_name()
    if live.name_taken:
        yield Comparison(f"name {alias!r}", "an alias", "a real collection", State.INCOMPATIBLE)
    elif live.alias_of is not None and not is_ours(live.alias_of):
        yield Comparison(f"alias {alias!r}", f"{alias}_v1", live.alias_of, State.INCOMPATIBLE)
    else:
        yield Comparison(f"collection {live.collection!r}", "there", *(("there", State.EQUAL) if live.found else (None, State.MISSING)))
        yield from _of_vectors(live.found)
        yield from _of_a_server(live.found)
        yield _compared(f"alias {alias!r}", live.collection, live.alias_of)


def _of_vectors(found: CollectionInfo | None) -> Iterator[Comparison]:
    vectors = found.config.params.vectors if found else None
    if found and not isinstance(vectors, VectorParams):
        names = ", ".join(map(repr, vectors or {})) or "none"
        yield Comparison("vectors", "one without a name", f"those named {names}" if vectors else "none", State.INCOMPATIBLE)
        return
    assert vectors is None or isinstance(vectors, VectorParams)
    if vectors is not None and vectors.multivector_config is not None:
        yield Comparison("vectors", "one without a name", "several for each point", State.INCOMPATIBLE)
    yield _compared("vectors.size", DECLARATION.size, vectors and vectors.size, State.INCOMPATIBLE)
    yield _compared("vectors.distance", DECLARATION.distance.value, vectors and vectors.distance.value, State.INCOMPATIBLE)


def _of_a_server(found: CollectionInfo | None) -> Iterator[Comparison]:
    """What the embedded store drops, and reports made-up figures of."""
    hnsw = _effective_hnsw(found.config) if found else {}
    for name, declared in DECLARATION.hnsw.items():
        yield _server_only(f"hnsw_config.{name}", declared, hnsw.get(name))
    optimizers = found.config.optimizer_config.model_dump() if found else {}
    for name, declared in DECLARATION.optimizers.items():
        yield _server_only(f"optimizer_config.{name}", declared, optimizers.get(name))
    indexes = found.payload_schema if found else {}
    for field, index in DECLARATION.payload_indexes.items():
        yield _server_only(f"payload_schema.{field}", _declared_kind(index), _index_kind(indexes.get(field)))


def _effective_hnsw(config: CollectionConfig) -> dict[str, Any]:
    vectors = config.params.vectors
    own = vectors.hnsw_config.model_dump(exclude_none=True) if isinstance(vectors, VectorParams) and vectors.hnsw_config else {}
    return config.hnsw_config.model_dump() | own


def _declared_kind(index: PayloadSchemaType | IntegerIndexParams) -> str:
    return index.value if isinstance(index, PayloadSchemaType) else _kind(index.type.value, index)


def _index_kind(index: PayloadIndexInfo | None) -> str | None:
    return None if index is None else _kind(index.data_type.value, index.params)


def _kind(kind: str, parameters: object) -> str:
    """Its type; for an integer index that answers only some questions, with what it leaves out."""
    left_out = [name for name in ("lookup", "range") if getattr(parameters, name, None) is False]
    return " ".join([kind, *(f"without {name}" for name in left_out)])


def _server_only(what: str, declared: Any, live: Any) -> Comparison:
    return Comparison(what, declared, None, State.NOT_APPLICABLE) if is_embedded() else _compared(what, declared, live)


def _compared(what: str, declared: Any, live: Any, otherwise: State = State.DIFFERENT) -> Comparison:
    if live is None:
        return Comparison(what, declared, None, State.MISSING)
    return Comparison(what, declared, live, State.EQUAL if live == declared else otherwise)
