"""Commands with the embedded PostgreSQL, without ``DATABASE_URL``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import load_backend
from pytest_django import DjangoDbBlocker
from pytest_django.fixtures import Settings

from findme.core.postgresql.variables import NOT_AN_OPTION, options
from findme.embedded import paths, server
from findme.embedded.backend.base import DatabaseWrapper
from tests.support.processes import manage

DEFAULT = "default_transaction_isolation"
Connect = Callable[[], DatabaseWrapper]


@pytest.fixture
def connect(open_folder: Path, settings: Settings) -> Connect:
    """Return a function that opens connections to a server for this test."""
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
    """Return the server's answer over a connection that is opened as Django does."""
    with closing(connection.get_new_connection(connection.get_connection_params())) as made:
        return made.execute("SELECT current_database() || ' ' || current_user").fetchone()[0]


def test_backend__first_connection__starts_the_server_and_reports_it_once(
    connect: Connect, open_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = connect()
    assert not (open_folder / "pg").exists()
    assert answer(made) == "findme findme"
    assert answer(made) == answer(connect()) == "findme findme"
    said = capfd.readouterr()
    assert said.out == "" and said.err == f"{server.running(open_folder / 'pg')}\n".replace("is running", "was started")


@pytest.mark.at_length
@pytest.mark.parametrize("default", ["repeatable read", "serializable"])
def test_backend__transactions_see_what_is_committed_whatever_the_default(
    connect: Connect, default: str, django_db_blocker: DjangoDbBlocker
) -> None:
    made = connect()
    made.settings_dict["OPTIONS"]["options"] = f"-c default_transaction_isolation={default.replace(' ', chr(92) + ' ')}"
    made.connection = made.get_new_connection(made.get_connection_params())
    with django_db_blocker.unblock():
        made.init_connection_state()
    with closing(made.connection) as session:
        shown = session.execute("SELECT reset_val, current_setting('transaction_isolation') FROM pg_settings WHERE name = %s", [DEFAULT])
        assert shown.fetchone() == (default, "read committed")


@pytest.mark.at_length
def test_backend__no_variable_of_libpq_leads_to_another_server(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any one of them libpq would connect to another server, or fail."""
    names = NOT_AN_OPTION.union(filter(None, options().values()))
    assert {"PGHOSTADDR", "PGSERVICE", "PGCHANNELBINDING", "PGOPTIONS"} <= names
    for name in names:
        monkeypatch.setenv(name, "none-of-the-values-that-it-may-have")
    assert answer(connect()) == "findme findme"
    assert not [name for name in names if name in os.environ]


@pytest.fixture
def folder_of_commands(open_folder: Path) -> Iterator[Path]:
    """The folder for the server of commands in separate processes. Its data are elsewhere if the account cannot reach the programs."""
    yield open_folder / "pg"
    server.remove(open_folder / "pg")


@pytest.mark.at_length
def test_backend__another_server_in_the_environment__is_not_reached(folder_of_commands: Path) -> None:
    environment = {"EMBEDDED_POSTGRES_DIR": str(folder_of_commands), "PGHOSTADDR": "127.0.0.1", "PGPORT": "1", "PGDATA": "/nonexistent"}
    query = "SELECT current_setting('data_directory')"
    code, out, err = manage("dbshell", "--", "-At", "-c", query, **environment, PGSERVICE="nope", PGOPTIONS="-c search_path=foo")
    (files,) = paths.possible_files(folder_of_commands)
    assert (code, out) == (0, f"{files.data}\n"), err
    code, out, _ = manage(
        "shell",
        "--no-imports",
        "-c",
        f"from django.db import connection as c; cursor = c.cursor(); cursor.execute({query!r}); print(cursor.fetchone()[0])",
        **environment,
    )
    assert (code, out) == (0, f"{files.data}\n")


@pytest.mark.at_length
def test_backend__server_was_stopped__the_next_connection_starts_it_again(
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
        == "DEBUG is off and DATABASE_URL is not set. Set it to postgresql://USER:PASSWORD@HOST:PORT/NAME, in the environment or in .env."
    )
    assert not (open_folder / "pg").exists()


@pytest.mark.at_length
def test_backend__dbshell__runs_the_psql_of_the_package(open_folder: Path) -> None:
    environment = {"EMBEDDED_POSTGRES_DIR": str(open_folder / "pg"), "PATH": "/nonexistent"}
    assert server.ensure_running(open_folder / "pg", durable=False).started
    code, out, err = manage("dbshell", "--", "-At", "-c", "SELECT current_database() || ' ' || current_user", **environment)
    assert (code, out, err) == (0, "findme findme\n", f"{server.running(open_folder / 'pg')}\n")


def test_backend__dbshell_passes_on_the_database_of_a_test() -> None:
    with mock.patch("findme.embedded.backend.client.installed_binaries") as installed:
        installed.return_value.path.side_effect = lambda name: Path("/programs") / name
        given = {"OPTIONS": {}, "HOST": "/run/x", "PORT": "5432", "USER": "findme", "NAME": "other"}
        found = DatabaseWrapper.client_class.settings_to_cmd_args_env(given, ["-c", "SELECT 1"])
    assert found == (["/programs/psql", "-U", "findme", "-h", "/run/x", "-p", "5432", "-c", "SELECT 1", "other"], None)
