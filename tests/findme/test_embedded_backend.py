"""Commands over the embedded PostgreSQL, where no ``DATABASE_URL`` is set."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import load_backend
from pytest_django.fixtures import Settings

from findme.embedded import server
from findme.embedded.backend.base import DatabaseWrapper
from tests.findme.processes import manage

Connect = Callable[[], DatabaseWrapper]


@pytest.fixture
def connect(open_folder: Path, settings: Settings) -> Connect:
    """Gives new connections to a server of the test's own."""
    settings.EMBEDDED_POSTGRES_DIR, settings.EMBEDDED_POSTGRES_DURABLE = str(open_folder / "pg"), False
    keys: dict[str, object] = {
        "OPTIONS": {},
        "TIME_ZONE": None,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False,
        "AUTOCOMMIT": True,
        "ATOMIC_REQUESTS": False,
        "TEST": {},
    }
    backend = load_backend("findme.embedded.backend")
    server_of_none = dict.fromkeys(("USER", "PASSWORD", "HOST", "PORT"), "")
    return lambda: backend.DatabaseWrapper({"ENGINE": "findme.embedded.backend", "NAME": "findme", **server_of_none, **keys}, "embedded")


def answer(connection: DatabaseWrapper) -> object:
    """What the server says over a connection that is made as Django makes it."""
    with closing(connection.get_new_connection(connection.get_connection_params())) as made:
        return made.execute("SELECT current_database() || ' ' || current_user").fetchone()[0]


def test_backend__starts_the_server_at_the_first_connection_and_says_once_which(
    connect: Connect, open_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = connect()
    assert not (open_folder / "pg").exists()
    assert answer(made) == "findme findme"
    assert answer(made) == answer(connect()) == "findme findme"
    said = capfd.readouterr()
    assert said.out == "" and said.err == f"{server.running(open_folder / 'pg')}\n".replace("is running", "was started")


def test_backend__transactions_see_what_is_committed_whatever_the_default(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_isolation=serializable")
    made = connect()
    with closing(made.get_new_connection(made.get_connection_params())) as session, session.transaction():
        shown = session.execute("SELECT current_setting('default_transaction_isolation'), current_setting('transaction_isolation')")
        assert shown.fetchone() == ("serializable", "read committed")


def test_backend__a_process_that_lives_longer_than_the_server_starts_it_again(
    connect: Connect, open_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = connect()
    answer(made)
    server.stop(open_folder / "pg")
    assert answer(made) == "findme findme"
    assert [line.split(" as ")[0].split(" ", 2)[2] for line in capfd.readouterr().err.splitlines()] == ["was started"] * 2


def test_backend__with_debug_off_nothing_is_started(connect: Connect, open_folder: Path, settings: Settings) -> None:
    settings.EMBEDDED_POSTGRES_ALLOWED = False
    with pytest.raises(ImproperlyConfigured) as raised:
        answer(connect())
    assert (
        str(raised.value)
        == "DEBUG is off and DATABASE_URL is not set: set it to postgresql://USER:PASSWORD@HOST:PORT/NAME, in the environment or in .env."
    )
    assert not (open_folder / "pg").exists()


def test_backend__dbshell_runs_the_psql_that_came_with_the_server(open_folder: Path) -> None:
    environment = {"EMBEDDED_POSTGRES_DIR": str(open_folder / "pg"), "PATH": "/nonexistent"}
    assert server.ensure_running(open_folder / "pg", durable=False).started
    code, out, err = manage("dbshell", "--", "-At", "-c", "SELECT current_database() || ' ' || current_user", **environment)
    assert (code, out, err) == (0, "findme findme\n", f"{server.running(open_folder / 'pg')}\n")


def test_backend__dbshell_passes_on_the_database_of_a_test() -> None:
    with mock.patch("findme.embedded.backend.client.installed") as installed:
        installed.return_value.path.side_effect = lambda name: Path("/programs") / name
        given = {"OPTIONS": {}, "HOST": "/run/x", "PORT": "5432", "USER": "findme", "NAME": "other"}
        found = DatabaseWrapper.client_class.settings_to_cmd_args_env(given, ["-c", "SELECT 1"])
    assert found == (["/programs/psql", "-U", "findme", "-h", "/run/x", "-p", "5432", "-c", "SELECT 1", "other"], None)
