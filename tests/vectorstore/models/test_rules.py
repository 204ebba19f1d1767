"""Constraints of the tables about both stores, each with a permitted counterpart, in plain SQL."""

from __future__ import annotations

import pytest

from tests.schema.rows import ANN, BOB, CHECK, UNIQUE, ask, refused
from vectorstore.models import StoreState, VectorCollection

pytestmark = pytest.mark.django_db


def collection(name: str, *, alias: str = "users", state: str = "live") -> None:
    ask("INSERT INTO vector_collections (name, alias, state, definition_hash, app_version) VALUES (%s, %s, %s, '', '')", name, alias, state)


@pytest.mark.parametrize("state", VectorCollection.State.values)
def test_state__unknown__is_refused(state: str) -> None:
    for invalid in ("", state.upper(), f"{state} "):
        with refused("vector_collections_state_check", CHECK):
            collection("v1", state=invalid)
    collection("v1", state=state)


def test_live__second_collection_of_an_alias__is_refused() -> None:
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


def test_store_state__second_row__is_refused() -> None:
    before = StoreState.current().database_id
    with refused("vector_store_state_one_row_check", CHECK):
        ask("INSERT INTO vector_store_state (id) VALUES (2)")
    with refused("vector_store_state_pkey", UNIQUE):
        ask("INSERT INTO vector_store_state DEFAULT VALUES")
    assert StoreState.current().database_id == before
    StoreState.objects.all().delete()
    assert StoreState.current().database_id not in {before, None}
    assert StoreState.objects.count() == 1


def test_leases__second_worker_for_a_user__is_refused() -> None:
    lease = "INSERT INTO vector_sync_leases (user_id, worker_id, expires_at) VALUES (%s, %s, now())"
    ask(lease, ANN, ANN)
    with refused("vector_sync_leases_pkey", UNIQUE):
        ask(lease, ANN, BOB)
    ask(lease, BOB, BOB)


def test_queue__repeated_or_unknown_user__is_accepted() -> None:
    """Without unique and foreign keys, no writer is refused or waits."""
    for _ in range(2):
        ask("INSERT INTO vector_sync_queue (user_id) VALUES (%s)", ANN)
    constraints = (
        "SELECT contype FROM pg_constraint WHERE conrelid = 'vector_sync_queue'::regclass AND contype <> 'n'"  # NOT NULL, from 18 on
        " ORDER BY contype = 'c', contype"
    )
    assert ask(constraints) == [("p",), ("c",), ("c",)]  # the checks of its two times, which the triggers cannot violate
    assert ask("SELECT count(*) FROM pg_index WHERE indrelid = 'vector_sync_queue'::regclass AND indisunique") == [(1,)]
    assert ask("SELECT relpersistence FROM pg_class WHERE oid = 'vector_sync_queue'::regclass") == [("p",)]


def test_version_sequence__allocates_nothing_ahead() -> None:
    assert ask("SELECT seqcache, seqcycle FROM pg_sequence WHERE seqrelid = 'vector_sync_version'::regclass") == [(1, False)]
