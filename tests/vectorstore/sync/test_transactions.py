"""PostgreSQL ends the transaction of a frozen process.

No process waits for it, and it does not hold back vacuum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection, transaction

from tests.support.users import create_users
from vectorstore.catalog import registry
from vectorstore.consistency.checkpoint import reset_checkpoint, write_checkpoint
from vectorstore.consistency.quiescence import quiescent_users
from vectorstore.consistency.versions import raise_above
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import RequestRejected
from vectorstore.queue import transactions
from vectorstore.queue.transactions import short_transaction
from vectorstore.sync import batch
from vectorstore.sync.batch import work

pytestmark = pytest.mark.django_db(transaction=True)


def _reset_checkpoint() -> None:
    with qdrant() as client:
        reset_checkpoint(client)


def _write_checkpoint() -> None:
    with qdrant() as client:
        write_checkpoint(client, registry.write_targets()[0])


def _release_rejected_batch() -> None:
    create_users(1)
    with pytest.raises(RequestRejected):
        work(uuid4(), 10)


@pytest.mark.parametrize(
    "job", [_reset_checkpoint, _write_checkpoint, _release_rejected_batch, lambda: raise_above(10), lambda: quiescent_users([uuid4()])]
)
def test_short_transaction__every_job__has_timeouts(
    embedded_collection: str, monkeypatch: pytest.MonkeyPatch, job: Callable[[], object]
) -> None:
    def refuse(_claim: object) -> None:
        raise RequestRejected("no")

    monkeypatch.setattr(batch, "write", refuse)
    timeouts: set[tuple[str, str]] = set()

    def record_timeouts(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if connection.in_atomic_block and "vector" in sql and "INSERT INTO" not in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')")
                timeouts.add(cursor.fetchone())
        return execute(sql, parameters, many, context)

    _reset_checkpoint()
    with connection.execute_wrapper(record_timeouts):
        job()
    assert timeouts
    assert timeouts <= {("2s", "5s"), ("2s", "15s")}, "longer only where a request to Qdrant is in it"


@pytest.mark.parametrize("setting", ["on", "off"])
def test_short_transaction__nested__restores_the_outer_settings(setting: str) -> None:
    """This happens when an erasure marks a collection as failed. The commit is still synchronous."""
    settings_query = "SELECT current_setting('lock_timeout'), current_setting('enable_seqscan'), current_setting('jit'), current_setting('synchronous_commit')"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '1234ms'; SET LOCAL enable_seqscan = {setting}; SET LOCAL jit = {setting}")
        cursor.execute("SET LOCAL synchronous_commit = off")
        with short_transaction() as inner:
            inner.execute(settings_query)
            assert inner.fetchone() == ("2s", "off", "off", "on")
        cursor.execute(settings_query)
        assert cursor.fetchone() == ("1234ms", setting, setting, "on")


@pytest.mark.at_length(every=9)
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
def test_registry__locked_row__fails_after_the_lock_timeout(
    embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch, state: registry.State, change: Callable[[str], object]
) -> None:
    """A frozen process may lock the row of a collection, and a worker that waits for it may hold leases."""
    monkeypatch.setattr(transactions, "LOCK_SECONDS", 1)
    name = f"{collection_name()}_v2"
    registry.register(name, state, "")
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT FROM vector_collections FOR UPDATE")
            with connection.cursor() as own_cursor:
                own_cursor.execute("SET statement_timeout = '100s'")
            with pytest.raises(OperationalError, match="lock timeout"):
                change(name)
    finally:
        other.close()
        connection.close()
