"""Every difference from the definition is found, named with the change it needs, and corrected or refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pytest_django import Settings
from qdrant_client import QdrantClient, models
from qdrant_client.http.api.collections_api import SyncCollectionsApi

from findme.core.errors import UserFacingError
from tests.support.collections import version
from vectorstore.catalog.alias import live_collection
from vectorstore.catalog.ownership import metadata_of
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.apply import apply, register_as_live
from vectorstore.schema.definition import DEFINITION, Change, CollectionDefinition
from vectorstore.schema.diff import Comparison, State
from vectorstore.schema.plan import Plan, plan, refuse

pytestmark = pytest.mark.django_db

IN_BOTH = ["params.vectors.size", "params.vectors.distance", "params.vectors.multivector_config"]
METADATA = [f"metadata.findme_{name}" for name in ("database", "version", "definition", "app_version", "defined_at")]


def apply_plan() -> None:
    with qdrant() as client:
        apply(client, plan(client))


def read_plan() -> Plan:
    with qdrant() as client:
        return plan(client)


def lines(found: Plan) -> list[str]:
    return [str(difference) for difference in found.differences]


def test_plan__empty_store__has_three_changes(every_store: str) -> None:
    found = read_plan()
    assert lines(found) == [
        f"collection {version(1)!r}: missing, expected there (in place)",
        f"noted {version(1)!r}: missing, expected live (in place)",
        f"alias {collection_name()!r}: missing, expected {version(1)} (in place)",
    ]
    assert (found.alias, found.collection, found.embedded) == (collection_name(), version(1), every_store == "embedded")


def test_plan__changes_nothing(store: str) -> None:
    read_plan()
    with qdrant() as client:
        assert not client.collection_exists(version(1))
        assert not client.collection_exists(collection_name())
    assert not VectorCollection.objects.exists()


def test_apply__empty_store__creates_the_definition(every_store: str) -> None:
    apply_plan()
    assert lines(read_plan()) == []
    with qdrant() as client:
        assert live_collection(client) == version(1)
        vectors = client.get_collection(collection_name()).config.params.vectors
    assert isinstance(vectors, models.VectorParams)
    assert (vectors.size, vectors.distance) == (512, models.Distance.COSINE)


@pytest.mark.qdrant_server
def test_plan__compares_every_part_of_the_definition(server: object) -> None:
    apply_plan()
    found = read_plan()
    assert {one.state for one in found.comparisons} == {State.EQUAL}
    assert [one.what for one in found.comparisons] == [
        f"collection {version(1)!r}",
        *(setting.path for setting in DEFINITION.settings),
        *(f"payload_schema.{field}" for field in DEFINITION.payload_indexes),
        *METADATA,
        f"noted {version(1)!r}",
        f"noted {version(1)!r}.definition_hash",
        f"alias {collection_name()!r}",
    ]


@pytest.mark.qdrant_server
def test_plan__every_setting_that_the_server_reports__is_defined(server: object) -> None:
    """A setting that is not in the definition would never be compared."""
    apply_plan()
    with qdrant() as client:
        reported = client.http.collections_api.get_collection(version(1)).result
    assert reported is not None
    paths = set()
    for part, parameters in reported.config.model_dump(exclude={"metadata", "strict_mode_config", "quantization_config"}).items():
        for name, value in parameters.items():
            paths |= {f"{part}.{name}.{inner}" for inner in value} if isinstance(value, dict) else {f"{part}.{name}"}
    assert paths - {"params.payload", "params.vectors.hnsw_config"} <= {setting.path for setting in DEFINITION.settings}


@pytest.mark.qdrant_server
@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ({"vectors": "cached", "graph": "cached", "payload": "cold", "index": "pinned"}, []),
        (
            {"vectors": "cold", "graph": "pinned", "payload": "cached", "index": "cold"},
            [
                "params.vectors.memory: cold, expected cached (graph rebuild)",
                "params.payload.memory: cached, expected cold (graph rebuild)",
                "hnsw_config.memory: pinned, expected cached (graph rebuild)",
                'payload_schema.gender: keyword {"memory": "cold"}, expected keyword (in place)',
            ],
        ),
    ],
)
def test_plan__memory_placement_of_newer_servers__is_compared(
    qdrant_server: object, placement: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qdrant 1.19 has this setting, and 1.18 ignores it, so the test invents the answer."""
    apply_plan()
    read = SyncCollectionsApi.get_collection

    def with_placement(api: SyncCollectionsApi, name: str) -> models.InlineResponse2007:
        answer = read(api, name)
        reported = answer.model_dump()["result"]
        reported["config"]["params"]["vectors"]["memory"] = placement["vectors"]
        reported["config"]["params"]["payload"] = {"memory": placement["payload"]}
        reported["config"]["hnsw_config"]["memory"] = placement["graph"]
        reported["payload_schema"]["gender"]["params"] = {"type": "keyword", "memory": placement["index"]}
        return answer.model_copy(update={"result": models.CollectionInfo.model_validate(reported)})

    monkeypatch.setattr(SyncCollectionsApi, "get_collection", with_placement)
    assert lines(read_plan()) == expected


def test_plan__embedded_store__marks_what_it_cannot_compare(embedded_qdrant: object) -> None:
    apply_plan()
    found = read_plan()
    assert [one.what for one in found.comparisons if one.state is State.EQUAL] == [
        f"collection {version(1)!r}",
        *IN_BOTH,
        *METADATA,
        f"noted {version(1)!r}",
        f"noted {version(1)!r}.definition_hash",
        f"alias {collection_name()!r}",
    ]
    not_compared = [one for one in found.comparisons if one.state is not State.EQUAL]
    assert {(one.state, one.live) for one in not_compared} == {(State.NOT_APPLICABLE, None)}
    assert {"hnsw_config.m", "payload_schema.version", "params.shard_number"} <= {one.what for one in not_compared}


ApplyChange = Callable[[QdrantClient], object]


def update(**request: Any) -> ApplyChange:
    """Change the collection by REST, as an operator would."""
    body = models.UpdateCollection.model_validate(request)
    return lambda client: client.http.collections_api.update_collection(version(1), update_collection=body)


def create_index(field: str, **schema: Any) -> ApplyChange:
    body = models.CreateFieldIndex.model_validate({"field_name": field, "field_schema": schema})
    return lambda client: client.http.indexes_api.create_field_index(version(1), wait=True, create_field_index=body)


INT8 = {"scalar": {"type": "int8"}}

CHANGED: dict[str, tuple[ApplyChange, list[str]]] = {
    "m": (update(hnsw_config={"m": 8}), ["hnsw_config.m: 8, expected 16 (graph rebuild)"]),
    "ef_construct": (update(hnsw_config={"ef_construct": 50}), ["hnsw_config.ef_construct: 50, expected 100 (graph rebuild)"]),
    "full_scan_threshold": (
        update(hnsw_config={"full_scan_threshold": 20}),
        ["hnsw_config.full_scan_threshold: 20, expected 10000 (graph rebuild)"],
    ),
    "payload_m": (update(hnsw_config={"payload_m": 4}), ["hnsw_config.payload_m: 4, expected 16 (graph rebuild)"]),
    "graph on disk": (update(hnsw_config={"on_disk": True}), ["hnsw_config.on_disk: true, expected false (graph rebuild)"]),
    "inline_storage": (update(hnsw_config={"inline_storage": True}), ["hnsw_config.inline_storage: true, expected false (graph rebuild)"]),
    "max_indexing_threads": (
        update(hnsw_config={"max_indexing_threads": 1}),
        ["hnsw_config.max_indexing_threads: 1, expected 0 (in place)"],
    ),
    "a vector's own m": (update(vectors={"": {"hnsw_config": {"m": 4}}}), ["hnsw_config.m: 4, expected 16 (graph rebuild)"]),
    "vectors on disk": (update(vectors={"": {"on_disk": True}}), ["params.vectors.on_disk: true, expected false (graph rebuild)"]),
    "quantization": (
        update(quantization_config=INT8),
        ['quantization_config: {"scalar": {"type": "int8"}}, expected none (graph rebuild)'],
    ),
    "a vector's own quantization": (
        update(vectors={"": {"quantization_config": INT8}}),
        ['params.vectors.quantization_config: {"scalar": {"type": "int8"}}, expected none (graph rebuild)'],
    ),
    "deleted_threshold": (
        update(optimizers_config={"deleted_threshold": 0.5}),
        ["optimizer_config.deleted_threshold: 0.5, expected 0.2 (in place)"],
    ),
    "vacuum_min_vector_number": (
        update(optimizers_config={"vacuum_min_vector_number": 100}),
        ["optimizer_config.vacuum_min_vector_number: 100, expected 1000 (in place)"],
    ),
    "default_segment_number": (
        update(optimizers_config={"default_segment_number": 4}),
        ["optimizer_config.default_segment_number: 4, expected 0 (in place)"],
    ),
    "memmap_threshold": (
        update(optimizers_config={"memmap_threshold": 1000}),
        ["optimizer_config.memmap_threshold: 1000, expected 0 (graph rebuild)"],
    ),
    "indexing_threshold": (
        update(optimizers_config={"indexing_threshold": 1}),
        ["optimizer_config.indexing_threshold: 1, expected 10000 (in place)"],
    ),
    "flush_interval_sec": (
        update(optimizers_config={"flush_interval_sec": 9}),
        ["optimizer_config.flush_interval_sec: 9, expected 5 (in place)"],
    ),
    "max_optimization_threads": (
        update(optimizers_config={"max_optimization_threads": 1}),
        ["optimizer_config.max_optimization_threads: 1, expected auto (in place)"],
    ),
    "prevent_unoptimized": (
        update(optimizers_config={"prevent_unoptimized": True}),
        ["optimizer_config.prevent_unoptimized: true, expected false (in place)"],
    ),
    "replication_factor": (update(params={"replication_factor": 2}), ["params.replication_factor: 2, expected 1 (in place)"]),
    "write_consistency_factor": (
        update(params={"write_consistency_factor": 2}),
        ["params.write_consistency_factor: 2, expected 1 (in place)"],
    ),
    "read_fan_out_factor": (update(params={"read_fan_out_factor": 2}), ["params.read_fan_out_factor: 2, expected 0 (in place)"]),
    "read_fan_out_delay_ms": (update(params={"read_fan_out_delay_ms": 20}), ["params.read_fan_out_delay_ms: 20, expected 0 (in place)"]),
    "payload in memory": (update(params={"on_disk_payload": False}), ["params.on_disk_payload: false, expected true (graph rebuild)"]),
    "strict mode": (
        update(strict_mode_config={"enabled": True, "max_query_limit": 5}),
        ["strict_mode_config.enabled: true, expected false (in place)"],
    ),
    "an index that is missing": (
        lambda client: client.delete_payload_index(version(1), "interests"),
        ["payload_schema.interests: missing, expected keyword (in place)"],
    ),
    "an index of another type": (create_index("age", type="keyword"), ["payload_schema.age: keyword, expected integer (in place)"]),
    "an index that knows no ranges": (
        create_index("age", type="integer", lookup=True, range=False),
        ['payload_schema.age: integer {"range": false}, expected integer (in place)'],
    ),
    "an index that knows more than it is to": (
        create_index("version", type="integer"),
        ['payload_schema.version: integer, expected integer {"lookup": false} (in place)'],
    ),
    "an index on disk": (
        create_index("gender", type="keyword", on_disk=True),
        ['payload_schema.gender: keyword {"on_disk": true}, expected keyword (in place)'],
    ),
    "an index for tenants": (
        create_index("gender", type="keyword", is_tenant=True),
        ['payload_schema.gender: keyword {"is_tenant": true}, expected keyword (in place)'],
    ),
    "an index without a graph": (
        create_index("gender", type="keyword", enable_hnsw=False),
        ['payload_schema.gender: keyword {"enable_hnsw": false}, expected keyword (in place)'],
    ),
    "an index more": (create_index("created_at", type="datetime"), ["payload_schema.created_at: datetime, expected none (in place)"]),
    "several at once": (
        lambda client: (update(hnsw_config={"m": 8}, params={"replication_factor": 3})(client), create_index("bio", type="text")(client)),
        [
            "params.replication_factor: 3, expected 1 (in place)",
            "hnsw_config.m: 8, expected 16 (graph rebuild)",
            'payload_schema.bio: text {"tokenizer": "word"}, expected none (in place)',
        ],
    ),
}


@pytest.mark.qdrant_server
@pytest.mark.parametrize("name", CHANGED)
def test_apply__setting_changed_by_hand__is_restored(qdrant_server: object, name: str) -> None:
    change, expected = CHANGED[name]
    apply_plan()
    with qdrant() as client:
        client.upsert(version(1), [models.PointStruct(id=1, vector=[1.0] * 512)])
        change(client)
        found = plan(client)
        assert lines(found) == expected
        refuse(found)
        apply(client, found)
        assert lines(plan(client)) == []
        assert client.count(version(1)).count == 1


@pytest.mark.qdrant_server
def test_apply__several_changes_by_grpc__are_restored(qdrant_server_grpc: object) -> None:
    test_apply__setting_changed_by_hand__is_restored(qdrant_server_grpc, "several at once")


QUANTIZED: dict[str, Any] = {
    "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
    "params.vectors.on_disk": True,
}


@pytest.mark.qdrant_server
@pytest.mark.parametrize("first", ["as now", "quantized"])
def test_apply__definition_with_quantization__is_applied(qdrant_server: object, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/how-to/plan-capacity.md names it for a hundred million users, for an existing and for a new collection."""
    if first == "as now":
        apply_plan()
    settings = tuple(replace(one, value=QUANTIZED.get(one.path, one.value)) for one in DEFINITION.settings)
    monkeypatch.setattr(CollectionDefinition, "settings", settings)
    if first == "as now":
        assert {one.what: one.change for one in read_plan().differences if not one.what.startswith(("noted", "metadata"))} == dict.fromkeys(
            QUANTIZED, Change.GRAPH_REBUILD
        )
    apply_plan()
    assert lines(read_plan()) == []
    with qdrant() as client:
        reported = client.get_collection(version(1)).config
    assert reported.quantization_config is not None
    assert reported.params.vectors.on_disk is True  # type: ignore[union-attr]  # one vector without a name


def test_apply__other_metadata__are_kept(every_store: str) -> None:
    """Metadata of other programs are kept."""
    apply_plan()
    with qdrant() as client:
        client.update_collection(version(1), metadata={"another": "program", "findme_app_version": "9.9"})
        found = plan(client)
        row = VectorCollection.objects.get()
        assert lines(found) == [f"metadata.findme_app_version: 9.9, expected {row.app_version} (in place)"]
        apply(client, found)
        assert lines(plan(client)) == []
        row.refresh_from_db()
        assert client.get_collection(version(1)).config.metadata == {"another": "program", **metadata_of(row)}


@pytest.mark.parametrize("key", ["findme_database", "findme_version", "findme_definition", "findme_app_version", "findme_defined_at"])
def test_apply__missing_metadata_of_an_empty_collection__are_restored(store: str, key: str) -> None:
    apply_plan()
    with qdrant() as client:
        client.update_collection(version(1), metadata={key: None})
        found = plan(client)
        assert [(one.what, one.state, one.change) for one in found.differences] == [(f"metadata.{key}", State.MISSING, Change.IN_PLACE)]
        apply(client, found)
        assert lines(plan(client)) == []


def test_apply__new_definition__is_recorded_in_both_stores(store: str, settings: Settings) -> None:
    apply_plan()
    row = VectorCollection.objects.get()
    settings.QDRANT_REPLICATION_FACTOR = 2
    with qdrant() as client:
        found = plan(client)
        server_settings = ["params.replication_factor"] if store == "server" else []
        assert [one.what for one in found.differences] == [
            *server_settings,
            "metadata.findme_definition",
            f"noted {version(1)!r}.definition_hash",
        ]
        apply(client, found)
        assert lines(plan(client)) == []
    before = row.definition_hash
    row.refresh_from_db()
    assert row.definition_hash == DEFINITION.hash() != before


def test_plan__row_of_a_missing_collection__is_removed(store: str) -> None:
    """Workers would try to write it."""
    apply_plan()
    v2 = f"{collection_name()}_v2"
    VectorCollection.objects.create(name=v2, alias=collection_name(), state="retained", definition_hash="", app_version="")
    found = read_plan()
    assert lines(found) == [f"noted {v2!r}: retained, expected none (in place)"]
    apply_plan()
    assert [row.name for row in VectorCollection.objects.all()] == [version(1)]


def with_vectors(vectors: Any, **more: Any) -> ApplyChange:
    return lambda client: client.create_collection(version(1), vectors_config=vectors, **more)


COSINE, DOT = models.Distance.COSINE, models.Distance.DOT
RIGHT = models.VectorParams(size=512, distance=COSINE)

VECTORS: dict[str, tuple[ApplyChange, list[str]]] = {
    "size": (with_vectors(models.VectorParams(size=256, distance=COSINE)), ["params.vectors.size: 256, expected 512 (new collection)"]),
    "distance": (
        with_vectors(models.VectorParams(size=512, distance=DOT)),
        ["params.vectors.distance: Dot, expected Cosine (new collection)"],
    ),
    "both": (
        with_vectors(models.VectorParams(size=4, distance=DOT)),
        ["params.vectors.size: 4, expected 512 (new collection)", "params.vectors.distance: Dot, expected Cosine (new collection)"],
    ),
    "named": (with_vectors({"face": RIGHT}), ["params.vectors: those named 'face', expected one without a name (new collection)"]),
    "none": (with_vectors({}), ["params.vectors: none, expected one without a name (new collection)"]),
    "several": (
        with_vectors(
            models.VectorParams(
                size=512, distance=COSINE, multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
            )
        ),
        ['params.vectors.multivector_config: {"comparator": "max_sim"}, expected none (new collection)'],
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_plan__other_vectors__are_refused(every_store: str, name: str) -> None:
    make, expected = VECTORS[name]
    with qdrant() as client:
        make(client)
        assert [str(one) for one in plan(client).refused] == expected


NEW: dict[str, tuple[ApplyChange, list[str]]] = {
    "datatype": (
        with_vectors(models.VectorParams(size=512, distance=COSINE, datatype=models.Datatype.FLOAT16)),
        ["params.vectors.datatype: float16, expected float32 (new collection)"],
    ),
    "sparse vectors": (
        with_vectors(RIGHT, sparse_vectors_config={"words": models.SparseVectorParams()}),
        ['params.sparse_vectors: {"words": {}}, expected none (new collection)'],
    ),
    "shards": (with_vectors(RIGHT, shard_number=2), ["params.shard_number: 2, expected 1 (new collection)"]),
    "sharding": (
        with_vectors(RIGHT, sharding_method=models.ShardingMethod.CUSTOM),
        ["params.sharding_method: custom, expected auto (new collection)"],
    ),
    "log": (
        with_vectors(RIGHT, wal_config=models.WalConfigDiff(wal_capacity_mb=16, wal_segments_ahead=1)),
        ["wal_config.wal_capacity_mb: 16, expected 32 (new collection)", "wal_config.wal_segments_ahead: 1, expected 0 (new collection)"],
    ),
    "size of segments": (
        lambda client: (with_vectors(RIGHT)(client), update(optimizers_config={"max_segment_size": 1000})(client)),
        ["optimizer_config.max_segment_size: 1000, expected none (new collection)"],
    ),
}


@pytest.mark.qdrant_server
@pytest.mark.parametrize("name", NEW)
def test_plan__change_needs_a_new_collection__is_refused(server: object, name: str) -> None:
    make, expected = NEW[name]
    with qdrant() as client:
        make(client)
        found = plan(client)
    assert [str(one) for one in found.refused] == expected
    more = f", and {len(expected) - 1} more" if len(expected) > 1 else ""
    with pytest.raises(UserFacingError) as raised:
        refuse(found)
    assert str(raised.value) == (
        f"In {version(1)!r}, {expected[0]}{more}: nothing was changed. Build a new collection with manage.py reindex_qdrant."
    )


@pytest.mark.qdrant_server
def test_plan__cluster_settings__are_part_of_the_definition(server: object, settings: Settings) -> None:
    settings.QDRANT_SHARD_NUMBER, settings.QDRANT_REPLICATION_FACTOR, settings.QDRANT_WRITE_CONSISTENCY_FACTOR = 2, 2, 2
    apply_plan()
    with qdrant() as client:
        reported = client.get_collection(version(1)).config.params
    assert (reported.shard_number, reported.replication_factor, reported.write_consistency_factor) == (2, 2, 2)
    settings.QDRANT_SHARD_NUMBER, settings.QDRANT_WRITE_CONSISTENCY_FACTOR = 3, 1
    assert lines(read_plan())[:2] == [
        "params.shard_number: 2, expected 3 (new collection)",
        "params.write_consistency_factor: 2, expected 1 (in place)",
    ]


def test_plan__write_consistency_above_replication__is_refused(store: str, settings: Settings) -> None:
    settings.QDRANT_REPLICATION_FACTOR, settings.QDRANT_WRITE_CONSISTENCY_FACTOR = 2, 3
    with pytest.raises(UserFacingError) as raised:
        apply_plan()
    assert str(raised.value) == (
        "QDRANT_WRITE_CONSISTENCY_FACTOR is 3 and QDRANT_REPLICATION_FACTOR is 2: no write could succeed. Set the first to at most the second."
    )


def test_plan__missing_alias__is_created_for_the_existing_collection(every_store: str) -> None:
    apply_plan()
    with qdrant() as client:
        client.upsert(version(1), [models.PointStruct(id=1, vector=[1.0] * 512)])
        deleted = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name()))
        client.update_collection_aliases([deleted])
        found = plan(client)
        assert lines(found) == [f"alias {collection_name()!r}: missing, expected {version(1)} (in place)"]
        apply(client, found)
        assert client.count(collection_name()).count == 1


def alias_to(client: QdrantClient, target: str) -> None:
    client.create_collection(target, vectors_config=RIGHT)
    alias = models.CreateAlias(collection_name=target, alias_name=collection_name())
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])


def test_plan__alias_points_to_a_later_collection__is_kept(every_store: str) -> None:
    v2 = f"{collection_name()}_v2"
    with qdrant() as client:
        alias_to(client, v2)
    apply_plan()
    found = read_plan()
    assert (found.collection, lines(found)) == (v2, [])
    with qdrant() as client:
        assert not client.collection_exists(version(1))


def test_plan__lost_alias__points_to_the_live_collection_again(store: str) -> None:
    v2 = f"{collection_name()}_v2"
    with qdrant() as client:
        alias_to(client, v2)
        apply(client, plan(client))
        client.create_collection(version(1), vectors_config=RIGHT)
        deleted = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name()))
        client.update_collection_aliases([deleted])
        assert lines(plan(client)) == [f"alias {collection_name()!r}: missing, expected {v2} (in place)"]


def test_register_as_live__leaves_one_live_row(store: str) -> None:
    apply_plan()
    v2 = f"{collection_name()}_v2"
    with qdrant() as client:
        client.create_collection(v2, vectors_config=RIGHT)
        register_as_live(client, v2, new=True)
    assert dict(VectorCollection.objects.values_list("name", "state")) == {version(1): "retained", v2: "live"}


def test_plan__real_collection_has_the_name_of_the_alias__needs_adoption(every_store: str) -> None:
    """The guide's Go program creates it in this way."""
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=RIGHT)
        found = plan(client)
    expected = Comparison(f"name {collection_name()!r}", "an alias", "a real collection", State.DIFFERENT, Change.ADOPTION)
    assert found.comparisons == (expected,)


@pytest.mark.parametrize("suffix", ["_other", "_v0", "_v1x", "_v01"])
def test_plan__alias_points_to_another_collection__is_refused(every_store: str, suffix: str) -> None:
    other = f"{collection_name()}{suffix}"
    with qdrant() as client:
        alias_to(client, other)
        found = plan(client)
        assert lines(found) == [f"alias {collection_name()!r}: {other}, expected {version(1)} (by hand)"]
        assert found.refused == list(found.comparisons)
