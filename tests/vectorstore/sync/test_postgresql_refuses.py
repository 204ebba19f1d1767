"""PostgreSQL is read-only or refuses the connection.

``--once`` reports it and ends. ``--watch`` reports it once and keeps trying.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from django.db import connection

from tests.findme.core.postgresql.refusing import refusing_server
from tests.schema.rows import ask
from tests.support import commands
from tests.support.commands import manage, started
from tests.support.processes import ended
from tests.support.users import create_users
from tests.support.waiting import wait_until
from tests.vectorstore.sync.points import ids, points, queued

pytestmark = pytest.mark.django_db(transaction=True)

READ_ONLY = "default_transaction_read_only is 'on'. "
SYNC_ONCE = ("sync_qdrant", "--once", "--timeout", "20")


@pytest.fixture
def read_only(embedded_collection: str) -> Iterator[None]:
    """Make new sessions of the test's database read-only. The test's own session can still write."""
    connection.ensure_connection()
    database = connection.ops.quote_name(connection.settings_dict["NAME"])
    ask(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    try:
        yield
    finally:
        ask(f"ALTER DATABASE {database} RESET default_transaction_read_only")


def use_database(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    variables = commands.environment() | {"DATABASE_URL": url}
    monkeypatch.setattr(commands, "environment", lambda: variables)


@pytest.mark.at_length
@pytest.mark.parametrize("with_entry", [False, True])
def test_once__read_only_postgresql__ends_at_once(read_only: None, with_entry: bool) -> None:
    create_users(int(with_entry))
    code, out, err = manage(*SYNC_ONCE)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert READ_ONLY in err


@pytest.mark.at_length
def test_watch__read_only_postgresql__is_reported_once_then_the_worker_writes(read_only: None) -> None:
    user_ids = create_users(2)
    with started("sync_qdrant", "--watch") as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert READ_ONLY in line and line.endswith(" Trying again.\n")
            ask(f"ALTER DATABASE {connection.ops.quote_name(connection.settings_dict['NAME'])} RESET default_transaction_read_only")
            wait_until(lambda: queued() == 0 and points() == ids(user_ids), "The worker writes")
            process.send_signal(signal.SIGTERM)
            assert ended(process)[::2] == (0, "")
        finally:
            process.kill()


@pytest.mark.at_length
def test_once__refused_connection__ends_at_once(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_server("28P01", "Passwort-Authentifizierung für Benutzer »ann« fehlgeschlagen") as url:
        use_database(monkeypatch, url)
        code, out, err = manage(*SYNC_ONCE)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "fehlgeschlagen" in err and "secret" not in err and "Trying again" not in err


@pytest.mark.at_length
def test_once__starting_server__waits(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_server("57P03", "das Datenbanksystem startet") as url:
        use_database(monkeypatch, url)
        code, out, err = manage("sync_qdrant", "--once", "--timeout", "1")
    assert (code, out) == (2, "")
    assert err.splitlines()[0].endswith("das Datenbanksystem startet. Trying again.")


@pytest.mark.at_length
def test_watch__refused_connection__is_reported_once(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_server("3D000", 'database "findme" does not exist') as url:
        use_database(monkeypatch, url)
        with started("sync_qdrant", "--watch") as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline().endswith('database "findme" does not exist. Trying again.\n')
                process.send_signal(signal.SIGTERM)
                assert ended(process)[::2] == (0, "")
            finally:
                process.kill()
