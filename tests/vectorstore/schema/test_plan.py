"""Every kind of difference that a hand can make on a server is found, told with what it takes, and made to go away or refused."""

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


def made() -> None:
    with qdrant() as client:
        apply(client, plan(client))


def planned() -> Plan:
    with qdrant() as client:
        return plan(client)


def lines(found: Plan) -> list[str]:
    return [str(difference) for difference in found.differences]


def test_plan__of_an_empty_store(every_store: str) -> None:
    found = planned()
    assert lines(found) == [
        f"collection {version(1)!r}: missing, expected there (in place)",
        f"noted {version(1)!r}: missing, expected live (in place)",
        f"alias {collection_name()!r}: missing, expected {version(1)} (in place)",
    ]
    assert (found.alias, found.collection, found.embedded) == (collection_name(), version(1), every_store == "embedded")


def test_plan__changes_nothing(store: str) -> None:
    planned()
    with qdrant() as client:
        assert not client.collection_exists(version(1))
        assert not client.collection_exists(collection_name())
    assert not VectorCollection.objects.exists()


def test_apply__makes_what_is_defined(every_store: str) -> None:
    made()
    assert lines(planned()) == []
    with qdrant() as client:
        assert live_collection(client) == version(1)
        vectors = client.get_collection(collection_name()).config.params.vectors
    assert isinstance(vectors, models.VectorParams)
    assert (vectors.size, vectors.distance) == (512, models.Distance.COSINE)


@pytest.mark.qdrant_server
def test_plan__compares_everything_that_is_defined(server: object) -> None:
    made()
    found = planned()
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
def test_plan__reads_everything_that_the_server_tells(server: object) -> None:
    """A setting that the definition lacks would never be compared."""
    made()
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
    ("placed", "expected"),
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
def test_plan__where_data_are_held_by_newer_servers(
    qdrant_server: object, placed: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1.19 knows it, and 1.18 ignores it: what it would tell is made up here."""
    made()
    read = SyncCollectionsApi.get_collection

    def newer(api: SyncCollectionsApi, name: str) -> models.InlineResponse2007:
        answer = read(api, name)
        reported = answer.model_dump()["result"]
        reported["config"]["params"]["vectors"]["memory"] = placed["vectors"]
        reported["config"]["params"]["payload"] = {"memory": placed["payload"]}
        reported["config"]["hnsw_config"]["memory"] = placed["graph"]
        reported["payload_schema"]["gender"]["params"] = {"type": "keyword", "memory": placed["index"]}
        return answer.model_copy(update={"result": models.CollectionInfo.model_validate(reported)})

    monkeypatch.setattr(SyncCollectionsApi, "get_collection", newer)
    assert lines(planned()) == expected


def test_plan__of_the_embedded_store_says_what_it_does_not_compare(embedded_qdrant: object) -> None:
    made()
    found = planned()
    assert [one.what for one in found.comparisons if one.state is State.EQUAL] == [
        f"collection {version(1)!r}",
        *IN_BOTH,
        *METADATA,
        f"noted {version(1)!r}",
        f"noted {version(1)!r}.definition_hash",
        f"alias {collection_name()!r}",
    ]
    left = [one for one in found.comparisons if one.state is not State.EQUAL]
    assert {(one.state, one.live) for one in left} == {(State.NOT_APPLICABLE, None)}
    assert {"hnsw_config.m", "payload_schema.version", "params.shard_number"} <= {one.what for one in left}


Change_ = Callable[[QdrantClient], object]


def updated(**request: Any) -> Change_:
    """By REST, as a hand would."""
    body = models.UpdateCollection.model_validate(request)
    return lambda client: client.http.collections_api.update_collection(version(1), update_collection=body)


def indexed(field: str, **schema: Any) -> Change_:
    body = models.CreateFieldIndex.model_validate({"field_name": field, "field_schema": schema})
    return lambda client: client.http.indexes_api.create_field_index(version(1), wait=True, create_field_index=body)


INT8 = {"scalar": {"type": "int8"}}

CHANGED: dict[str, tuple[Change_, list[str]]] = {
    "m": (updated(hnsw_config={"m": 8}), ["hnsw_config.m: 8, expected 16 (graph rebuild)"]),
    "ef_construct": (updated(hnsw_config={"ef_construct": 50}), ["hnsw_config.ef_construct: 50, expected 100 (graph rebuild)"]),
    "full_scan_threshold": (
        updated(hnsw_config={"full_scan_threshold": 20}),
        ["hnsw_config.full_scan_threshold: 20, expected 10000 (graph rebuild)"],
    ),
    "payload_m": (updated(hnsw_config={"payload_m": 4}), ["hnsw_config.payload_m: 4, expected 16 (graph rebuild)"]),
    "graph on disk": (updated(hnsw_config={"on_disk": True}), ["hnsw_config.on_disk: true, expected false (graph rebuild)"]),
    "inline_storage": (updated(hnsw_config={"inline_storage": True}), ["hnsw_config.inline_storage: true, expected false (graph rebuild)"]),
    "max_indexing_threads": (
        updated(hnsw_config={"max_indexing_threads": 1}),
        ["hnsw_config.max_indexing_threads: 1, expected 0 (in place)"],
    ),
    "a vector's own m": (updated(vectors={"": {"hnsw_config": {"m": 4}}}), ["hnsw_config.m: 4, expected 16 (graph rebuild)"]),
    "vectors on disk": (updated(vectors={"": {"on_disk": True}}), ["params.vectors.on_disk: true, expected false (graph rebuild)"]),
    "quantization": (
        updated(quantization_config=INT8),
        ['quantization_config: {"scalar": {"type": "int8"}}, expected none (graph rebuild)'],
    ),
    "a vector's own quantization": (
        updated(vectors={"": {"quantization_config": INT8}}),
        ['params.vectors.quantization_config: {"scalar": {"type": "int8"}}, expected none (graph rebuild)'],
    ),
    "deleted_threshold": (
        updated(optimizers_config={"deleted_threshold": 0.5}),
        ["optimizer_config.deleted_threshold: 0.5, expected 0.2 (in place)"],
    ),
    "vacuum_min_vector_number": (
        updated(optimizers_config={"vacuum_min_vector_number": 100}),
        ["optimizer_config.vacuum_min_vector_number: 100, expected 1000 (in place)"],
    ),
    "default_segment_number": (
        updated(optimizers_config={"default_segment_number": 4}),
        ["optimizer_config.default_segment_number: 4, expected 0 (in place)"],
    ),
    "memmap_threshold": (
        updated(optimizers_config={"memmap_threshold": 1000}),
        ["optimizer_config.memmap_threshold: 1000, expected 0 (graph rebuild)"],
    ),
    "indexing_threshold": (
        updated(optimizers_config={"indexing_threshold": 1}),
        ["optimizer_config.indexing_threshold: 1, expected 10000 (in place)"],
    ),
    "flush_interval_sec": (
        updated(optimizers_config={"flush_interval_sec": 9}),
        ["optimizer_config.flush_interval_sec: 9, expected 5 (in place)"],
    ),
    "max_optimization_threads": (
        updated(optimizers_config={"max_optimization_threads": 1}),
        ["optimizer_config.max_optimization_threads: 1, expected auto (in place)"],
    ),
    "prevent_unoptimized": (
        updated(optimizers_config={"prevent_unoptimized": True}),
        ["optimizer_config.prevent_unoptimized: true, expected false (in place)"],
    ),
    "replication_factor": (updated(params={"replication_factor": 2}), ["params.replication_factor: 2, expected 1 (in place)"]),
    "write_consistency_factor": (
        updated(params={"write_consistency_factor": 2}),
        ["params.write_consistency_factor: 2, expected 1 (in place)"],
    ),
    "read_fan_out_factor": (updated(params={"read_fan_out_factor": 2}), ["params.read_fan_out_factor: 2, expected 0 (in place)"]),
    "read_fan_out_delay_ms": (updated(params={"read_fan_out_delay_ms": 20}), ["params.read_fan_out_delay_ms: 20, expected 0 (in place)"]),
    "payload in memory": (updated(params={"on_disk_payload": False}), ["params.on_disk_payload: false, expected true (graph rebuild)"]),
    "strict mode": (
        updated(strict_mode_config={"enabled": True, "max_query_limit": 5}),
        ["strict_mode_config.enabled: true, expected false (in place)"],
    ),
    "an index that is missing": (
        lambda client: client.delete_payload_index(version(1), "interests"),
        ["payload_schema.interests: missing, expected keyword (in place)"],
    ),
    "an index of another type": (indexed("age", type="keyword"), ["payload_schema.age: keyword, expected integer (in place)"]),
    "an index that knows no ranges": (
        indexed("age", type="integer", lookup=True, range=False),
        ['payload_schema.age: integer {"range": false}, expected integer (in place)'],
    ),
    "an index that knows more than it is to": (
        indexed("version", type="integer"),
        ['payload_schema.version: integer, expected integer {"lookup": false} (in place)'],
    ),
    "an index on disk": (
        indexed("gender", type="keyword", on_disk=True),
        ['payload_schema.gender: keyword {"on_disk": true}, expected keyword (in place)'],
    ),
    "an index for tenants": (
        indexed("gender", type="keyword", is_tenant=True),
        ['payload_schema.gender: keyword {"is_tenant": true}, expected keyword (in place)'],
    ),
    "an index without a graph": (
        indexed("gender", type="keyword", enable_hnsw=False),
        ['payload_schema.gender: keyword {"enable_hnsw": false}, expected keyword (in place)'],
    ),
    "an index more": (indexed("created_at", type="datetime"), ["payload_schema.created_at: datetime, expected none (in place)"]),
    "several at once": (
        lambda client: (updated(hnsw_config={"m": 8}, params={"replication_factor": 3})(client), indexed("bio", type="text")(client)),
        [
            "params.replication_factor: 3, expected 1 (in place)",
            "hnsw_config.m: 8, expected 16 (graph rebuild)",
            'payload_schema.bio: text {"tokenizer": "word"}, expected none (in place)',
        ],
    ),
}


@pytest.mark.qdrant_server
@pytest.mark.parametrize("name", CHANGED)
def test_apply__undoes_what_a_hand_has_changed(qdrant_server: object, name: str) -> None:
    change, expected = CHANGED[name]
    made()
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
def test_apply__by_grpc_too(qdrant_server_grpc: object) -> None:
    test_apply__undoes_what_a_hand_has_changed(qdrant_server_grpc, "several at once")


QUANTIZED: dict[str, Any] = {
    "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
    "params.vectors.on_disk": True,
}


@pytest.mark.qdrant_server
@pytest.mark.parametrize("first", ["as now", "quantized"])
def test_apply__a_definition_that_quantizes(qdrant_server: object, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/how-to/plan-capacity.md names it for a hundred million people: of a collection that is there, and of a new one."""
    if first == "as now":
        made()
    settings = tuple(replace(one, value=QUANTIZED.get(one.path, one.value)) for one in DEFINITION.settings)
    monkeypatch.setattr(CollectionDefinition, "settings", settings)
    if first == "as now":
        assert {one.what: one.change for one in planned().differences if not one.what.startswith(("noted", "metadata"))} == dict.fromkeys(
            QUANTIZED, Change.GRAPH_REBUILD
        )
    made()
    assert lines(planned()) == []
    with qdrant() as client:
        reported = client.get_collection(version(1)).config
    assert reported.quantization_config is not None
    assert reported.params.vectors.on_disk is True  # type: ignore[union-attr]  # one vector without a name


def test_apply__touches_nothing_else(every_store: str) -> None:
    """Metadata of somebody else's stay, and limits of a strict mode that is off are without effect."""
    made()
    with qdrant() as client:
        client.update_collection(version(1), metadata={"somebody": "else", "findme_app_version": "9.9"})
        found = plan(client)
        row = VectorCollection.objects.get()
        assert lines(found) == [f"metadata.findme_app_version: 9.9, expected {row.app_version} (in place)"]
        apply(client, found)
        assert lines(plan(client)) == []
        row.refresh_from_db()
        assert client.get_collection(version(1)).config.metadata == {"somebody": "else", **metadata_of(row)}


@pytest.mark.parametrize("key", ["findme_database", "findme_version", "findme_definition", "findme_app_version", "findme_defined_at"])
def test_apply__mends_what_an_empty_collection_says_of_itself(store: str, key: str) -> None:
    made()
    with qdrant() as client:
        client.update_collection(version(1), metadata={key: None})
        found = plan(client)
        assert [(one.what, one.state, one.change) for one in found.differences] == [(f"metadata.{key}", State.MISSING, Change.IN_PLACE)]
        apply(client, found)
        assert lines(plan(client)) == []


def test_apply__notes_a_new_definition_in_both(store: str, settings: Settings) -> None:
    made()
    row = VectorCollection.objects.get()
    settings.QDRANT_REPLICATION_FACTOR = 2
    with qdrant() as client:
        found = plan(client)
        of_a_server = ["params.replication_factor"] if store == "server" else []
        assert [one.what for one in found.differences] == [
            *of_a_server,
            "metadata.findme_definition",
            f"noted {version(1)!r}.definition_hash",
        ]
        apply(client, found)
        assert lines(plan(client)) == []
    before = row.definition_hash
    row.refresh_from_db()
    assert row.definition_hash == DEFINITION.hash() != before


def test_plan__a_row_of_a_collection_that_is_gone(store: str) -> None:
    """Workers would write it in vain."""
    made()
    v2 = f"{collection_name()}_v2"
    VectorCollection.objects.create(name=v2, alias=collection_name(), state="retained", definition_hash="", app_version="")
    found = planned()
    assert lines(found) == [f"noted {v2!r}: retained, expected none (in place)"]
    made()
    assert [row.name for row in VectorCollection.objects.all()] == [version(1)]


def with_vectors(vectors: Any, **more: Any) -> Change_:
    return lambda client: client.create_collection(version(1), vectors_config=vectors, **more)


COSINE, DOT = models.Distance.COSINE, models.Distance.DOT
RIGHT = models.VectorParams(size=512, distance=COSINE)

VECTORS: dict[str, tuple[Change_, list[str]]] = {
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
def test_plan__vectors_that_cannot_be_changed(every_store: str, name: str) -> None:
    make, expected = VECTORS[name]
    with qdrant() as client:
        make(client)
        assert [str(one) for one in plan(client).refused] == expected


NEW: dict[str, tuple[Change_, list[str]]] = {
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
        lambda client: (with_vectors(RIGHT)(client), updated(optimizers_config={"max_segment_size": 1000})(client)),
        ["optimizer_config.max_segment_size: 1000, expected none (new collection)"],
    ),
}


@pytest.mark.qdrant_server
@pytest.mark.parametrize("name", NEW)
def test_plan__what_takes_a_new_collection(server: object, name: str) -> None:
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
def test_plan__follows_the_settings_of_the_cluster(server: object, settings: Settings) -> None:
    settings.QDRANT_SHARD_NUMBER, settings.QDRANT_REPLICATION_FACTOR, settings.QDRANT_WRITE_CONSISTENCY_FACTOR = 2, 2, 2
    made()
    with qdrant() as client:
        reported = client.get_collection(version(1)).config.params
    assert (reported.shard_number, reported.replication_factor, reported.write_consistency_factor) == (2, 2, 2)
    settings.QDRANT_SHARD_NUMBER, settings.QDRANT_WRITE_CONSISTENCY_FACTOR = 3, 1
    assert lines(planned())[:2] == [
        "params.shard_number: 2, expected 3 (new collection)",
        "params.write_consistency_factor: 2, expected 1 (in place)",
    ]


def test_plan__refuses_a_write_that_would_wait_for_more_copies_than_there_are(store: str, settings: Settings) -> None:
    settings.QDRANT_REPLICATION_FACTOR, settings.QDRANT_WRITE_CONSISTENCY_FACTOR = 2, 3
    with pytest.raises(UserFacingError) as raised:
        made()
    assert str(raised.value) == (
        "QDRANT_WRITE_CONSISTENCY_FACTOR is 3 and QDRANT_REPLICATION_FACTOR is 2: no write could succeed. Set the first to at most the second."
    )


def test_plan__goes_on_where_the_alias_is_missing(every_store: str) -> None:
    made()
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


def test_plan__takes_an_alias_of_a_later_collection_as_it_is(every_store: str) -> None:
    v2 = f"{collection_name()}_v2"
    with qdrant() as client:
        alias_to(client, v2)
    made()
    found = planned()
    assert (found.collection, lines(found)) == (v2, [])
    with qdrant() as client:
        assert not client.collection_exists(version(1))


def test_plan__an_alias_that_is_lost_goes_back_to_the_collection_that_was_live(store: str) -> None:
    v2 = f"{collection_name()}_v2"
    with qdrant() as client:
        alias_to(client, v2)
        apply(client, plan(client))
        client.create_collection(version(1), vectors_config=RIGHT)
        deleted = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name()))
        client.update_collection_aliases([deleted])
        assert lines(plan(client)) == [f"alias {collection_name()!r}: missing, expected {v2} (in place)"]


def test_note_as_live__leaves_one_live_row(store: str) -> None:
    made()
    v2 = f"{collection_name()}_v2"
    with qdrant() as client:
        client.create_collection(v2, vectors_config=RIGHT)
        register_as_live(client, v2, new=True)
    assert dict(VectorCollection.objects.values_list("name", "state")) == {version(1): "retained", v2: "live"}


def test_plan__a_real_collection_that_bears_the_aliass_name(every_store: str) -> None:
    """As the guide's own Go program makes it."""
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=RIGHT)
        found = plan(client)
    expected = Comparison(f"name {collection_name()!r}", "an alias", "a real collection", State.DIFFERENT, Change.ADOPTION)
    assert found.comparisons == (expected,)


@pytest.mark.parametrize("foreign", ["_other", "_v0", "_v1x", "_v01"])
def test_plan__an_alias_that_leads_to_somebody_elses_collection(every_store: str, foreign: str) -> None:
    other = f"{collection_name()}{foreign}"
    with qdrant() as client:
        alias_to(client, other)
        found = plan(client)
        assert lines(found) == [f"alias {collection_name()!r}: {other}, expected {version(1)} (by hand)"]
        assert found.refused == list(found.comparisons)
