from dataclasses import replace

import pytest
from pytest_django import Settings
from qdrant_client import models

from findme.core.errors import StoreUnavailable
from vectorstore.catalog.alias import first_collection, is_ours, live_collection, way_out
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.schema.initialize import initialize
from vectorstore.schema.live import DEFINITION, read_live

VECTORS = models.VectorParams(size=512, distance=models.Distance.COSINE)


def test_definition__equals_the_guide() -> None:
    assert (DEFINITION.size, DEFINITION.distance) == (512, models.Distance.COSINE)
    values = {setting.path: setting.value for setting in DEFINITION.settings}
    assert [values[f"hnsw_config.{name}"] for name in ("m", "ef_construct", "full_scan_threshold")] == [16, 100, 10000]
    assert values["optimizer_config.indexing_threshold"] == 10000
    assert {field: index["type"] for field, index in DEFINITION.payload_indexes.items()} == {
        "gender": "keyword",
        "age": "integer",
        "age_group": "keyword",
        "active": "bool",
        "verified": "bool",
        "location": "geo",
        "interests": "keyword",
        "version": "integer",
    }


def test_definition_hash__changes_with_every_part(settings: Settings) -> None:
    other_index = replace(DEFINITION, payload_indexes={**DEFINITION.payload_indexes, "version": {"type": "integer"}})
    hashes = {DEFINITION.hash(), other_index.hash(), replace(DEFINITION, size=256).hash()}
    settings.QDRANT_SHARD_NUMBER = 2
    assert len({*hashes, DEFINITION.hash()}) == 4
    assert all(len(one) == 64 for one in hashes)


@pytest.mark.parametrize(
    ("suffix", "ours"),
    [("_v1", True), ("_v2", True), ("_v10", True), ("_v0", False), ("_v01", False), ("_v1x", False), ("x_v1", False), ("", False)],
)
def test_is_ours__accepts_only_valid_suffixes(embedded_qdrant: object, suffix: str, ours: bool) -> None:
    assert is_ours(f"{collection_name()}{suffix}") is ours
    assert not is_ours(f"another{suffix}")


def test_is_ours__alias_with_a_dot__is_not_a_pattern(embedded_qdrant: object, settings: Settings) -> None:
    settings.QDRANT_COLLECTION = "users.x"
    assert is_ours("users.x_v1")
    assert not is_ours("users_x_v1")
    assert first_collection() == "users.x_v1"


@pytest.mark.django_db
def test_read_live__empty_store__finds_nothing(every_store: str) -> None:
    with qdrant() as client:
        live = read_live(client)
    assert (live.name_taken, live.alias_of, live.collection, live.found) == (False, None, first_collection(), None)


@pytest.mark.django_db
def test_live_collection__returns_the_target_of_the_alias(every_store: str) -> None:
    initialize()
    with qdrant() as client:
        assert live_collection(client) == first_collection()


def test_live_collection__no_collection__names_init_qdrant(every_store: str) -> None:
    with qdrant() as client, pytest.raises(CollectionNotFound) as raised:
        live_collection(client)
    assert str(raised.value) == f"Qdrant has no collection {collection_name()!r}: make it with manage.py init_qdrant."


def test_live_collection__real_collection_has_the_name_of_the_alias__is_refused(every_store: str) -> None:
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=VECTORS)
        with pytest.raises(StoreUnavailable) as raised:
            live_collection(client)
    assert str(raised.value) == (f"{collection_name()!r} is a real collection, but must be an alias. {way_out(collection_name())}")


def test_live_collection__alias_points_to_another_collection__is_refused(every_store: str) -> None:
    name, other = collection_name(), f"{collection_name()}_other"
    with qdrant() as client:
        client.create_collection(other, vectors_config=VECTORS)
        alias = models.CreateAlias(collection_name=other, alias_name=name)
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        with pytest.raises(StoreUnavailable) as raised:
            live_collection(client)
    assert str(raised.value) == (
        f"The alias {name!r} points to {other!r}, which is not one of {name}_v1, _v2 and so on:"
        " delete the alias, or set QDRANT_COLLECTION to another name, then run manage.py init_qdrant."
    )
