"""The owner of embeddings and the vector store. ``tests/privacy/test_with_qdrant.py`` tests them in whole actions."""

import math
import subprocess
import sys
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from pytest_django import Settings
from qdrant_client import models

from findme.core.errors import StoreUnavailable
from findme.environment import BASE_DIR
from privacy.declarations import Disposition
from privacy.registry import Effect, PersonalDataOwner, Store, registry
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.qdrant import QdrantServer
from tests.support.payloads import payload_of
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of, sync_users

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> PersonalDataOwner:
    (found,) = (owner for owner in registry.owners if owner.section == "vector_store")
    return found


@pytest.fixture
def vector_store() -> Store:
    (found,) = (store for store in registry.stores if store.name == "vector store")
    return found


@pytest.fixture
def user(every_store: str) -> UUID:
    initialize()
    user: UUID = ProfileEmbeddingFactory.create(model="a-model").pk
    sync_users([user])
    return user


def export(owner: PersonalDataOwner, user_id: UUID) -> Mapping[str, Any]:
    exported = owner.export(user_id)
    assert isinstance(exported, Mapping)
    return exported


def test_owner__covers_every_column(owner: PersonalDataOwner) -> None:
    (table,) = owner.tables.values()
    assert table.fields == {field.name for field in ProfileEmbedding._meta.concrete_fields}


def test_export__has_the_row_and_the_point(owner: PersonalDataOwner, user: UUID) -> None:
    exported = export(owner, user)
    embedding = ProfileEmbedding.objects.select_related("user").get(pk=user)
    assert exported["embedding"] == {
        "user_id": user,
        "vector": embedding.vector,
        "location": embedding.location,
        "interests": embedding.interests,
        "video_features": embedding.video_features,
        "model": "a-model",
        "created_at": embedding.created_at,
        "updated_at": embedding.updated_at,
    }
    payload = exported["point"]["payload"]
    assert payload == payload_of(embedding.user, embedding) | {"version": payload["version"]}
    assert exported["point"]["vector"] == pytest.approx(embedding.vector, abs=1e-6)


def test_export__point_without_a_row__is_exported(owner: PersonalDataOwner, user: UUID) -> None:
    ProfileEmbedding.objects.filter(pk=user).delete()
    exported = export(owner, user)
    assert exported["embedding"] is None
    assert exported["point"]["payload"]["user_id"] == str(user)


def test_export__user_without_row_and_point__is_empty(owner: PersonalDataOwner, user: UUID) -> None:
    assert owner.export(UserFactory.create().pk) == {"embedding": None, "point": None}


def test_export__qdrant_unavailable__is_reported(owner: PersonalDataOwner, settings: Settings) -> None:
    settings.QDRANT_URL = "http://no-such-host.invalid"
    with pytest.raises(StoreUnavailable):
        owner.export(uuid4())


def test_anonymize__deletes_the_row_and_keeps_others(owner: PersonalDataOwner) -> None:
    user, other = ProfileEmbeddingFactory.create().pk, ProfileEmbeddingFactory.create().pk
    assert owner.after_anonymization(user) == owner.after_erasure(user) == [Effect("embeddings", 1, Disposition.DELETED)]
    assert owner.after_soft_deletion(user) == [Effect("embeddings", 1, Disposition.KEPT)]
    owner.anonymize(user)
    assert owner.after_anonymization(user) == [Effect("embeddings", 0, Disposition.DELETED)]
    assert list(ProfileEmbedding.objects.values_list("pk", flat=True)) == [other]


def test_store__point__is_found_and_removed(vector_store: Store, user: UUID) -> None:
    other = ProfileEmbeddingFactory.create().pk
    sync_users([other])
    with vector_store.session(), transaction.atomic():
        assert vector_store.holds(user)
        assert vector_store.remove(user)
        assert not vector_store.holds(user)
        assert not vector_store.remove(user)
    assert point_of(other) is not None


@pytest.mark.qdrant_server
@pytest.mark.parametrize("by_grpc", [False, True])
def test_store__vector_of_nan__is_exported_and_removed(
    owner: PersonalDataOwner, vector_store: Store, qdrant_server_grpc: QdrantServer, settings: Settings, *, by_grpc: bool
) -> None:
    """Qdrant accepts NaN by gRPC and returns an invalid number by REST. Export and erasure work anyway."""
    initialize()
    user = ProfileEmbeddingFactory.create().pk
    sync_users([user])
    with qdrant() as client:
        client.update_vectors(collection_name(), [models.PointVectors(id=str(user), vector=[math.nan] * 512)], wait=True)
    settings.QDRANT_GRPC_PORT = qdrant_server_grpc.grpc_port if by_grpc else 0
    exported = export(owner, user)["point"]
    assert (exported["vector"], exported["payload"]["user_id"]) == (None, str(user))
    with vector_store.session(), transaction.atomic():
        assert vector_store.holds(user)
        assert vector_store.remove(user)
        assert not vector_store.holds(user)


def test_store__no_collection__is_reported(vector_store: Store, every_store: str) -> None:
    """Without the collection, it is unknown whether Qdrant holds data of a user."""
    for ask in (lambda: vector_store.holds(uuid4()), lambda: vector_store.remove(uuid4()), lambda: vector_store.session().__enter__()):
        with pytest.raises(CollectionNotFound, match=r"make it with manage\.py init_qdrant\.$"):
            ask()


def test_store__alias_missing_since_the_last_request__nothing_is_removed(vector_store: Store, user: UUID) -> None:
    """The stores were compared within the last minute, so the comparison does not notice it."""
    with qdrant() as client:
        (alias,) = (one for one in client.get_aliases().aliases if one.alias_name == collection_name())
        delete = models.DeleteAlias(alias_name=collection_name())
        client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=delete)])
        with pytest.raises(CollectionNotFound):
            vector_store.remove(user)
        assert client.retrieve(alias.collection_name, [str(user)])


def test_store__qdrant_unavailable__is_reported(vector_store: Store, settings: Settings) -> None:
    settings.QDRANT_URL = "http://no-such-host.invalid"
    with pytest.raises(StoreUnavailable), vector_store.session():
        pass


def test_personal_data__is_registered__does_not_import_the_driver() -> None:
    script = "import django, sys; django.setup(); from django.core import checks; checks.run_checks();"
    script += (
        "print('vectorstore.personal_data' in sys.modules, 'findme.web.health.middleware' in sys.modules, 'qdrant_client' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", script], cwd=BASE_DIR, capture_output=True, text=True, check=True)
    assert finished.stdout == "True True False\n"
