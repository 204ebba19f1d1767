"""The rules of the tables that say how the two stores stand to each other, each with its permitted twin, in plain SQL."""

from __future__ import annotations

import pytest

from tests.schema.rows import ANN, BOB, CHECK, UNIQUE, ask, refused
from vectorstore.models import StoreState, VectorCollection

pytestmark = pytest.mark.django_db


def collection(name: str, *, alias: str = "people", state: str = "live") -> None:
    ask("INSERT INTO vector_collections (name, alias, state, definition_hash, app_version) VALUES (%s, %s, %s, '', '')", name, alias, state)


@pytest.mark.parametrize("state", VectorCollection.State.values)
def test_state__is_one_of_those_that_there_are(state: str) -> None:
    for wrong in ("", state.upper(), f"{state} "):
        with refused("vector_collections_state_check", CHECK):
            collection("v1", state=wrong)
    collection("v1", state=state)


def test_live__is_one_collection_of_an_alias() -> None:
    collection("v1")
    with refused("vector_collections_live_key", UNIQUE):
        collection("v2")
    collection("v2", state="retained")
    collection("v3", state="retained")
    collection("w1", alias="others")
    with refused("vector_collections_live_key", UNIQUE):
        ask("UPDATE vector_collections SET state = 'live' WHERE name = 'v2'")
    ask("UPDATE vector_collections SET state = CASE name WHEN 'v1' THEN 'retained' ELSE state END")
    ask("UPDATE vector_collections SET state = 'live' WHERE name = 'v2'")


def test_store_state__is_one_row_with_an_id_of_its_own() -> None:
    before = StoreState.current().database_id
    with refused("vector_store_state_one_row_check", CHECK):
        ask("INSERT INTO vector_store_state (id) VALUES (2)")
    with refused("vector_store_state_pkey", UNIQUE):
        ask("INSERT INTO vector_store_state DEFAULT VALUES")
    assert StoreState.current().database_id == before
    StoreState.objects.all().delete()
    assert StoreState.current().database_id not in {before, None}
    assert StoreState.objects.count() == 1


def test_leases__two_workers_never_hold_one_person() -> None:
    lease = "INSERT INTO vector_sync_leases (user_id, worker_id, expires_at) VALUES (%s, %s, now())"
    ask(lease, ANN, ANN)
    with refused("vector_sync_leases_pkey", UNIQUE):
        ask(lease, ANN, BOB)
    ask(lease, BOB, BOB)


def test_queue__takes_a_person_any_number_of_times_and_one_who_is_not_there() -> None:
    """No key and no reference: nobody who appends to it can be refused, or waits."""
    for _ in range(2):
        ask("INSERT INTO vector_sync_queue (user_id) VALUES (%s)", ANN)
    constraints = (
        "SELECT contype FROM pg_constraint WHERE conrelid = 'vector_sync_queue'::regclass AND contype <> 'n'"  # NOT NULL, from 18 on
        " ORDER BY contype = 'c', contype"
    )
    assert ask(constraints) == [("p",), ("c",), ("c",)]  # the ranges of its two times, which no capture can break
    assert ask("SELECT count(*) FROM pg_index WHERE indrelid = 'vector_sync_queue'::regclass AND indisunique") == [(1,)]
    assert ask("SELECT relpersistence FROM pg_class WHERE oid = 'vector_sync_queue'::regclass") == [("p",)]


def test_versions__come_from_a_sequence_that_no_session_allocates_ahead_from() -> None:
    assert ask("SELECT seqcache, seqcycle FROM pg_sequence WHERE seqrelid = 'vector_sync_version'::regclass") == [(1, False)]
