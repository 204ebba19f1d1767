"""PostgreSQL ends the transaction of a frozen process: no process waits for it, and it does not hold back vacuum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection, transaction

from tests.vectorstore.sync.people import people
from vectorstore.catalog import registry
from vectorstore.consistency.checkpoint import reset_checkpoint, write_checkpoint
from vectorstore.consistency.quiescence import quiescent_users
from vectorstore.consistency.versions import raise_above
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import RequestRejected
from vectorstore.queue import transactions as short
from vectorstore.queue.transactions import short_transaction
from vectorstore.sync import batch as working
from vectorstore.sync.batch import work

pytestmark = pytest.mark.django_db(transaction=True)


def _reset_checkpoint() -> None:
    with qdrant() as client:
        reset_checkpoint(client)


def _write_checkpoint() -> None:
    with qdrant() as client:
        write_checkpoint(client, registry.write_targets()[0])


def _release() -> None:
    people(1)
    with pytest.raises(RequestRejected):
        work(uuid4(), 10)


@pytest.mark.parametrize(
    "job", [_reset_checkpoint, _write_checkpoint, _release, lambda: raise_above(10), lambda: quiescent_users([uuid4()])]
)
def test_short_transaction__ends_where_nothing_is_heard(
    embedded_collection: str, monkeypatch: pytest.MonkeyPatch, job: Callable[[], object]
) -> None:
    def refuse(_claim: object) -> None:
        raise RequestRejected("no")

    monkeypatch.setattr(working, "write", refuse)
    timeouts: set[tuple[str, str]] = set()

    def note(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if connection.in_atomic_block and "vector" in sql and "INSERT INTO" not in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')")
                timeouts.add(cursor.fetchone())
        return execute(sql, parameters, many, context)

    _reset_checkpoint()
    with connection.execute_wrapper(note):
        job()
    assert timeouts
    assert timeouts <= {("2s", "5s"), ("2s", "15s")}, "longer only where a request to Qdrant is in it"


@pytest.mark.parametrize("planned", ["on", "off"])
def test_short_transaction__in_another_ones__gives_that_its_own_timeouts_back(planned: str) -> None:
    """As where an erasure gives a collection up. But what was written is on disk with the commit."""
    asked = "SELECT current_setting('lock_timeout'), current_setting('enable_seqscan'), current_setting('jit'), current_setting('synchronous_commit')"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '1234ms'; SET LOCAL enable_seqscan = {planned}; SET LOCAL jit = {planned}")
        cursor.execute("SET LOCAL synchronous_commit = off")
        with short_transaction() as inner:
            inner.execute(asked)
            assert inner.fetchone() == ("2s", "off", "off", "on")
        cursor.execute(asked)
        assert cursor.fetchone() == ("1234ms", planned, planned, "on")


@pytest.mark.parametrize(
    ("state", "change"),
    [
        (registry.State.RETAINED, lambda name: registry.mark_failed(name, "no")),
        (registry.State.RETAINED, lambda name: registry.register(name, registry.State.RETAINED, "")),
        (registry.State.READY, registry.build),
        (registry.State.RETAINED, registry.mark_for_deletion),
        (registry.State.FAILED, registry.remove),
    ],
    ids=["mark_failed", "register", "build", "mark_for_deletion", "remove"],
)
def test_registry__waits_only_for_seconds(
    embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch, state: registry.State, change: Callable[[str], object]
) -> None:
    """A frozen process may lock the row of a collection, and a worker that waits for it may hold leases."""
    monkeypatch.setattr(short, "LOCK_SECONDS", 1)
    name = f"{collection_name()}_v2"
    registry.register(name, state, "")
    held = connection.copy()
    try:
        with held.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT FROM vector_collections FOR UPDATE")
            with connection.cursor() as mine:
                mine.execute("SET statement_timeout = '20s'")
            with pytest.raises(OperationalError, match="lock timeout"):
                change(name)
    finally:
        held.close()
        connection.close()
