from collections.abc import Callable
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from vectorstore.collection import DECLARATION, live_collection
from vectorstore.connection import collection_name, qdrant
from vectorstore.plan import Comparison, Plan, State, apply, plan

ON_A_SERVER_ONLY = [
    "hnsw_config.m",
    "hnsw_config.ef_construct",
    "hnsw_config.full_scan_threshold",
    "optimizer_config.indexing_threshold",
    *(f"payload_schema.{field}" for field in ("gender", "age", "age_group", "active", "verified", "location", "interests", "version")),
]


def v1() -> str:
    return f"{collection_name()}_v1"


def made() -> None:
    with qdrant() as client:
        apply(client, plan(client), {})


def planned() -> Plan:
    with qdrant() as client:
        return plan(client)


def lines(found: Plan) -> list[str]:
    return [str(difference) for difference in found.differences]


def test_plan__of_an_empty_store(store: str) -> None:
    found = planned()
    expected = [f"collection {v1()!r}", "vectors.size", "vectors.distance", f"alias {collection_name()!r}"]
    if store == "server":
        expected[3:3] = ON_A_SERVER_ONLY
    assert [one.what for one in found.differences] == expected
    assert {one.state for one in found.differences} == {State.MISSING}
    assert (found.alias, found.collection, found.embedded) == (collection_name(), v1(), store == "embedded")


def test_plan__changes_nothing(store: str) -> None:
    planned()
    with qdrant() as client:
        assert not client.collection_exists(v1())
        assert not client.collection_exists(collection_name())


def test_apply__makes_what_is_declared(every_store: str) -> None:
    made()
    assert planned().differences == []
    with qdrant() as client:
        assert live_collection(client) == v1()
        vectors = client.get_collection(collection_name()).config.params.vectors
    assert isinstance(vectors, models.VectorParams)
    assert (vectors.size, vectors.distance) == (512, models.Distance.COSINE)


@pytest.mark.qdrant_server
def test_apply__makes_it_as_the_server_tells_it(server: object) -> None:
    made()
    with qdrant() as client:
        info = client.get_collection(v1())
    told = info.config.model_dump(include={"hnsw_config", "optimizer_config"})
    assert {name: told["hnsw_config"][name] for name in ("m", "ef_construct", "full_scan_threshold")} == dict(DECLARATION.hnsw)
    assert told["optimizer_config"]["indexing_threshold"] == 10000
    kinds = {field: index.data_type.value for field, index in info.payload_schema.items()}
    assert kinds == {field: getattr(kind, "type", kind) for field, kind in DECLARATION.payload_indexes.items()}


def test_plan__of_the_embedded_store_says_what_it_does_not_compare(embedded_qdrant: object) -> None:
    made()
    found = planned()
    assert [one.what for one in found.comparisons if one.state is State.NOT_APPLICABLE] == ON_A_SERVER_ONLY
    assert [one.what for one in found.comparisons if one.state is State.EQUAL] == [
        f"collection {v1()!r}",
        "vectors.size",
        "vectors.distance",
        f"alias {collection_name()!r}",
    ]
    assert all(one.live is None for one in found.comparisons if one.state is State.NOT_APPLICABLE)


Change = Callable[[QdrantClient], object]

IN_PLACE: dict[str, tuple[Change, str]] = {
    "m": (
        lambda client: client.update_collection(v1(), hnsw_config=models.HnswConfigDiff(m=8)),
        "hnsw_config.m: 8, is to be 16",
    ),
    "ef_construct": (
        lambda client: client.update_collection(v1(), hnsw_config=models.HnswConfigDiff(ef_construct=50)),
        "hnsw_config.ef_construct: 50, is to be 100",
    ),
    "full_scan_threshold": (
        lambda client: client.update_collection(v1(), hnsw_config=models.HnswConfigDiff(full_scan_threshold=20)),
        "hnsw_config.full_scan_threshold: 20, is to be 10000",
    ),
    "a vector's own m": (
        lambda client: client.update_collection(v1(), vectors_config={"": models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff(m=4))}),
        "hnsw_config.m: 4, is to be 16",
    ),
    "indexing_threshold": (
        lambda client: client.update_collection(v1(), optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1)),
        "optimizer_config.indexing_threshold: 1, is to be 10000",
    ),
    "an index that is missing": (
        lambda client: client.delete_payload_index(v1(), "interests"),
        "payload_schema.interests: missing, is to be keyword",
    ),
    "an index of another type": (
        lambda client: client.create_payload_index(v1(), "age", models.PayloadSchemaType.KEYWORD),
        "payload_schema.age: keyword, is to be integer",
    ),
    "an index that knows no ranges": (
        lambda client: client.create_payload_index(
            v1(), "age", models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=False)
        ),
        "payload_schema.age: integer without range, is to be integer",
    ),
}


@pytest.mark.qdrant_server
@pytest.mark.parametrize("name", IN_PLACE)
def test_apply__changes_in_place(server: object, name: str) -> None:
    change, line = IN_PLACE[name]
    made()
    with qdrant() as client:
        client.upsert(v1(), [models.PointStruct(id=1, vector=[1.0] * 512)])
        change(client)
        found = plan(client)
        assert lines(found) == [line]
        assert found.incompatible == []
        apply(client, found, {})
        assert plan(client).differences == []
        assert client.count(v1()).count == 1


@pytest.mark.qdrant_server
def test_plan__compares_only_what_is_declared(server: object) -> None:
    made()
    with qdrant() as client:
        client.create_payload_index(v1(), "created_at", models.PayloadSchemaType.DATETIME)
        client.create_payload_index(v1(), "gender", models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=True))
        client.update_collection(
            v1(),
            optimizers_config=models.OptimizersConfigDiff(deleted_threshold=0.5),
            hnsw_config=models.HnswConfigDiff(max_indexing_threads=1),
            metadata={"somebody": "else"},
        )
    assert planned().differences == []


def with_vectors(vectors: Any) -> Change:
    return lambda client: client.create_collection(v1(), vectors_config=vectors)


COSINE, DOT = models.Distance.COSINE, models.Distance.DOT

INCOMPATIBLE: dict[str, tuple[Any, list[str]]] = {
    "size": (models.VectorParams(size=256, distance=COSINE), ["vectors.size: 256, is to be 512, which cannot be changed in place"]),
    "distance": (models.VectorParams(size=512, distance=DOT), ["vectors.distance: Dot, is to be Cosine, which cannot be changed in place"]),
    "both": (
        models.VectorParams(size=4, distance=DOT),
        [
            "vectors.size: 4, is to be 512, which cannot be changed in place",
            "vectors.distance: Dot, is to be Cosine, which cannot be changed in place",
        ],
    ),
    "named": (
        {"face": models.VectorParams(size=512, distance=COSINE)},
        ["vectors: those named 'face', is to be one without a name, which cannot be changed in place"],
    ),
    "none": ({}, ["vectors: none, is to be one without a name, which cannot be changed in place"]),
    "several": (
        models.VectorParams(
            size=512, distance=COSINE, multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        ),
        ["vectors: several for each point, is to be one without a name, which cannot be changed in place"],
    ),
}


@pytest.mark.parametrize("name", INCOMPATIBLE)
def test_plan__names_what_cannot_be_changed_in_place(every_store: str, name: str) -> None:
    vectors, expected = INCOMPATIBLE[name]
    with qdrant() as client:
        client.create_collection(v1(), vectors_config=vectors)
        assert [str(one) for one in plan(client).incompatible] == expected


def test_plan__goes_on_where_the_alias_is_missing(every_store: str) -> None:
    made()
    with qdrant() as client:
        client.upsert(v1(), [models.PointStruct(id=1, vector=[1.0] * 512)])
        deleted = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name()))
        client.update_collection_aliases([deleted])
        found = plan(client)
        assert lines(found) == [f"alias {collection_name()!r}: missing, is to be {v1()}"]
        apply(client, found, {})
        assert client.count(collection_name()).count == 1


def test_plan__takes_an_alias_of_a_later_collection_as_it_is(every_store: str) -> None:
    v2 = f"{collection_name()}_v2"
    with qdrant() as client:
        client.create_collection(v2, vectors_config=models.VectorParams(size=512, distance=COSINE))
        alias = models.CreateAlias(collection_name=v2, alias_name=collection_name())
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    made()
    found = planned()
    assert (found.collection, found.differences) == (v2, [])
    with qdrant() as client:
        assert not client.collection_exists(v1())


def test_plan__a_real_collection_that_bears_the_aliass_name(every_store: str) -> None:
    """As the guide's own Go program makes it."""
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=models.VectorParams(size=512, distance=COSINE))
        found = plan(client)
    assert found.comparisons == (Comparison(f"name {collection_name()!r}", "an alias", "a real collection", State.INCOMPATIBLE),)


@pytest.mark.parametrize("foreign", ["_other", "_v0", "_v1x", "_v01"])
def test_plan__an_alias_that_leads_to_somebody_elses_collection(every_store: str, foreign: str) -> None:
    other = f"{collection_name()}{foreign}"
    with qdrant() as client:
        client.create_collection(other, vectors_config=models.VectorParams(size=512, distance=COSINE))
        alias = models.CreateAlias(collection_name=other, alias_name=collection_name())
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        found = plan(client)
        assert lines(found) == [f"alias {collection_name()!r}: {other}, is to be {v1()}, which cannot be changed in place"]
        assert found.incompatible == list(found.comparisons)
