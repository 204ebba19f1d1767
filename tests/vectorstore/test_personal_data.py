"""The owner of the embeddings and the vector store by themselves; ``tests/privacy/test_with_qdrant.py`` has them at work."""

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
from privacy.registry import Disposition, Effect, PersonalDataOwner, Store, registry
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
def person(every_store: str) -> UUID:
    initialize()
    person: UUID = ProfileEmbeddingFactory.create(model="a-model").pk
    sync_users([person])
    return person


def export(owner: PersonalDataOwner, user_id: UUID) -> Mapping[str, Any]:
    exported = owner.export(user_id)
    assert isinstance(exported, Mapping)
    return exported


def test_owner__answers_for_every_column(owner: PersonalDataOwner) -> None:
    assert owner.fields == {"vectorstore.ProfileEmbedding": {field.name for field in ProfileEmbedding._meta.concrete_fields}}


def test_export__the_row_and_the_point_as_it_is_in_qdrant(owner: PersonalDataOwner, person: UUID) -> None:
    exported = export(owner, person)
    embedding = ProfileEmbedding.objects.select_related("user").get(pk=person)
    assert exported["embedding"] == {
        "user_id": person,
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


def test_export__a_point_that_is_no_longer_what_the_row_says(owner: PersonalDataOwner, person: UUID) -> None:
    ProfileEmbedding.objects.filter(pk=person).delete()
    exported = export(owner, person)
    assert exported["embedding"] is None
    assert exported["point"]["payload"]["user_id"] == str(person)


def test_export__of_nobody(owner: PersonalDataOwner, person: UUID) -> None:
    assert owner.export(UserFactory.create().pk) == {"embedding": None, "point": None}


def test_export__without_qdrant(owner: PersonalDataOwner, settings: Settings) -> None:
    settings.QDRANT_URL = "http://no-such-host.invalid"
    with pytest.raises(StoreUnavailable):
        owner.export(uuid4())


def test_anonymize__the_row_goes_and_others_stay(owner: PersonalDataOwner) -> None:
    person, other = ProfileEmbeddingFactory.create().pk, ProfileEmbeddingFactory.create().pk
    assert owner.after_anonymization(person) == owner.after_erasure(person) == [Effect("embeddings", 1, Disposition.DELETED)]
    assert owner.after_soft_deletion(person) == [Effect("embeddings", 1, Disposition.KEPT)]
    owner.anonymize(person)
    assert owner.after_anonymization(person) == [Effect("embeddings", 0, Disposition.DELETED)]
    assert list(ProfileEmbedding.objects.values_list("pk", flat=True)) == [other]


def test_store__holds_and_removes_a_point(vector_store: Store, person: UUID) -> None:
    other = ProfileEmbeddingFactory.create().pk
    sync_users([other])
    with vector_store.session(), transaction.atomic():
        assert vector_store.holds(person)
        assert vector_store.remove(person)
        assert not vector_store.holds(person)
        assert not vector_store.remove(person)
    assert point_of(other) is not None


@pytest.mark.qdrant_server
@pytest.mark.parametrize("by_grpc", [False, True])
def test_store__a_point_whose_vector_has_a_nan(
    owner: PersonalDataOwner, vector_store: Store, qdrant_server_grpc: QdrantServer, settings: Settings, *, by_grpc: bool
) -> None:
    """Qdrant takes it by gRPC; by REST it answers with what is none. The person can be exported, as JSON, and erased all the same."""
    initialize()
    person = ProfileEmbeddingFactory.create().pk
    sync_users([person])
    with qdrant() as client:
        client.update_vectors(collection_name(), [models.PointVectors(id=str(person), vector=[math.nan] * 512)], wait=True)
    settings.QDRANT_GRPC_PORT = qdrant_server_grpc.grpc_port if by_grpc else 0
    exported = export(owner, person)["point"]
    assert (exported["vector"], exported["payload"]["user_id"]) == (None, str(person))
    with vector_store.session(), transaction.atomic():
        assert vector_store.holds(person)
        assert vector_store.remove(person)
        assert not vector_store.holds(person)


def test_store__is_not_reached_without_its_collection(vector_store: Store, every_store: str) -> None:
    """Nobody can say then whether it holds anything of a person."""
    for ask in (lambda: vector_store.holds(uuid4()), lambda: vector_store.remove(uuid4()), lambda: vector_store.session().__enter__()):
        with pytest.raises(CollectionNotFound, match=r"make it with manage\.py init_qdrant\.$"):
            ask()


def test_store__is_not_reached_without_qdrant(vector_store: Store, settings: Settings) -> None:
    settings.QDRANT_URL = "http://no-such-host.invalid"
    with pytest.raises(StoreUnavailable), vector_store.session():
        pass


def test_personal_data__does_not_import_the_driver_for_every_command() -> None:
    script = "import django, sys; django.setup(); from django.core import checks; checks.run_checks();"
    script += (
        "print('vectorstore.personal_data' in sys.modules, 'findme.web.health.middleware' in sys.modules, 'qdrant_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=BASE_DIR, capture_output=True, text=True, check=True)
    assert done.stdout == "True True False\n"
