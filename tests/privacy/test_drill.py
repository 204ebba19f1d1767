"""The drill with a Qdrant server: back up both stores, erase, restore both, see the users there, replay, see them in neither store."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import pytest

from accounts.models import User
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from privacy.ledger.gate import GATE
from privacy.ledger.publication import LedgerBehind
from privacy.registry import registry
from tests.factories import ProfileEmbeddingFactory
from tests.privacy.life import full_life
from tests.qdrant import QdrantServer
from tests.support.commands import manage_here
from tests.support.restored import restorable_postgres
from tests.support.vectors import unit_vector
from vectorstore.catalog.alias import alias_target
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.search.criteria import SearchQuery
from vectorstore.search.engine import search
from vectorstore.snapshots.repository import Snapshot, create
from vectorstore.sync.inline import point_of
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]

VECTOR = unit_vector(424_242)


def with_point(number: int) -> UUID:
    """Create a user who is one of the best hits for ``VECTOR``."""
    person: User = full_life(email=f"someone{number}@example.org")
    ProfileEmbedding.objects.filter(pk=person.pk).update(vector=VECTOR)
    return person.pk


def found() -> set[UUID]:
    return {hit.user_id for hit in search(SearchQuery(vector=VECTOR, limit=10))}


def scanned(user_ids: Collection[UUID]) -> frozenset[UUID]:
    (store,) = registry.stores
    return store.scan(user_ids)


def recover(server: QdrantServer, snapshot: Snapshot) -> None:
    """Overwrite the live collection with the snapshot, as an operator does without FindMe."""
    with qdrant() as client:
        name = alias_target(client)
        assert name is not None
        location = f"{server.url}/collections/{name}/snapshots/{snapshot.name}"
        assert client.recover_snapshot(name, location=location, api_key=server.api_key or None, wait=True)


@pytest.mark.parametrize("dumped", [pytest.param(True, id="pg_dump"), pytest.param(False, id="copy", marks=pytest.mark.at_length)])
def test_drill__both_stores_restored(qdrant_server: QdrantServer, dumped: bool) -> None:
    initialize()
    erased, anonymized, kept = users = [with_point(number) for number in range(3)]
    ProfileEmbeddingFactory.create_batch(20)
    sync_once()
    (backup,) = create()
    with restorable_postgres(dumped=dumped) as restore:
        erase(erased)
        anonymize(anonymized)
        assert scanned(users) == {kept}
        assert found() & set(users) == {kept}
        restore()
        recover(qdrant_server, backup)

        assert User.objects.filter(pk__in=users, email__startswith="someone").count() == 3
        assert scanned(users) == set(users)
        GATE.forget()
        with pytest.raises(LedgerBehind):
            found()

        code, printed, errors = manage_here("replay_erasures")
        assert (code, errors) == (0, "")
        assert printed == (
            "2 entries in the ledger outside, 2 copied to PostgreSQL.\n"
            "Anonymize: repeated for 1 user.\n"
            "Erase: repeated for 1 user.\n"
        )  # fmt: skip
        assert not User.objects.filter(pk=erased).exists()
        assert User.objects.get(pk=anonymized).full_name == "Deleted User"
        assert scanned(users) == {kept}
        assert [point_of(user_id) for user_id in (erased, anonymized)] == [None, None]

        assert manage_here("verify_qdrant", "--repair", "--force")[0] in (0, 1)
        sync_once()
        assert scanned(users) == {kept}
        assert found() & set(users) == {kept}
        assert manage_here("verify_ledger")[0] == 0


def test_drill__without_the_replay__nothing_is_served(qdrant_server: QdrantServer) -> None:
    """A repair of the vector store alone must not open the search."""
    initialize()
    erased = with_point(1)
    ProfileEmbeddingFactory.create_batch(5)
    sync_once()
    with restorable_postgres() as restore:
        erase(erased)
        restore()
        GATE.forget()
        assert manage_here("verify_qdrant", "--repair", "--after-restore", "--force")[0] in (0, 1)
        with pytest.raises(LedgerBehind, match=r"Run manage\.py replay_erasures\.$"):
            found()
