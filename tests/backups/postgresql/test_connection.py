"""A program of PostgreSQL connects as Django does, and its command line has no secret."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pytest_django import DjangoDbBlocker

from backups.postgresql.connection import program_connection
from backups.postgresql.tables import quoted
from findme.core.errors import UserFacingError
from findme.core.postgresql.programs import find_program
from tests.support.database import Database, database
from tests.support.waiting import DEADLINE_SECONDS

ODD = "a'b\"c\\d $e `f` %g 100% #h=;&|<>(){}[]!?*~^:/@, \té日本 "
"""A password with every kind of character that a shell, a URL or a connection string reads as its own."""


def answer(query: str, name: str | None = None) -> str:
    """Ask by ``psql`` on the connection of Django."""
    found = program_connection(connection, name)
    command = [str(find_program("psql", 15).path), "-X", "-A", "-t", "--no-password", f"--dbname={found.conninfo}", f"--command={query}"]
    ran = subprocess.run(command, env=found.environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@contextmanager
def connected(settings: Mapping[str, str], options: Mapping[str, str]) -> Iterator[None]:
    """Let Django connect with these settings and options instead of its own."""
    connection.close()
    before = dict(connection.settings_dict)
    connection.settings_dict.update(settings, OPTIONS=before["OPTIONS"] | options)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)


@pytest.fixture
def role_with_password(older_server: int) -> str:
    """A role that the server asks for the password ``ODD``."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE ROLE asked LOGIN PASSWORD {}").format(sql.Literal(ODD)))
        cursor.execute("SHOW hba_file")
        rules = Path(cursor.fetchone()[0])
        rules.write_text("local all asked scram-sha-256\nlocal all all trust\n")
        cursor.execute("SELECT pg_reload_conf()")
    return "asked"


def test_embedded_server__same_database_and_role(empty: Database) -> None:
    [user] = empty.query("SELECT session_user")
    assert answer("SELECT current_database() || ' ' || session_user") == f"{empty.name} {user}"


def test_another_database_of_the_same_server(empty: Database) -> None:
    with database() as other:
        assert answer("SELECT current_database()", other.name) == other.name


def test_another_database__with_an_odd_name(empty: Database) -> None:
    name = f"{empty.name} 'a' \"b\" = \\c %s host=elsewhere"
    empty.execute(f"CREATE DATABASE {quoted(name)}")
    try:
        assert answer("SELECT current_database()", name) == name
    finally:
        empty.execute(f"DROP DATABASE {quoted(name)}")


def test_options__reach_the_session(empty: Database) -> None:
    with connected({}, {"options": r"-c work_mem=7MB -c findme.text=a\ b", "application_name": "it's a name", "keepalives_idle": "77"}):
        assert answer("SELECT current_setting('work_mem') || current_setting('findme.text')") == "7MBa b"
        assert answer("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()") == "it's a name"
        assert conninfo_to_dict(program_connection(connection).conninfo)["keepalives_idle"] == "77"


def test_sslmode_and_certificates__reach_the_program(empty: Database) -> None:
    with connected({}, {"sslmode": "allow", "sslrootcert": "/certificates/root.crt", "connect_timeout": "9"}):
        found = program_connection(connection)
    assert {found.environment[name] for name in ("PGSSLMODE", "PGSSLROOTCERT", "PGCONNECT_TIMEOUT")} == {
        "allow",
        "/certificates/root.crt",
        "9",
    }


def test_variables__those_of_libpq_are_replaced_and_others_inherited(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    for name, value in {"PGHOST": "elsewhere.example", "PGSERVICE": "other", "PGSSLMODE": "verify-full", "PGTZ": "Asia/Tokyo"}.items():
        monkeypatch.setenv(name, value)
    found = program_connection(connection)
    assert (found.environment["PGTZ"], "PGSERVICE" in found.environment, "PGSSLMODE" in found.environment) == ("Asia/Tokyo", False, False)
    assert answer("SELECT current_database()") == empty.name


@pytest.mark.parametrize("name", ["sslpassword", "oauth_client_secret"])
def test_secret_without_a_variable__is_refused(name: str, empty: Database) -> None:
    with connected({}, {name: "word-not-shown"}), pytest.raises(UserFacingError) as raised:
        program_connection(connection)
    assert name in str(raised.value)
    assert "word-not-shown" not in str(raised.value)


def test_password__with_odd_characters(role_with_password: str) -> None:
    with connected({"USER": role_with_password, "PASSWORD": ODD}, {}):
        assert answer("SELECT session_user") == role_with_password
        found = program_connection(connection)
    assert (ODD in repr(found), ODD.strip() in found.conninfo) == (False, False)


def test_password__of_a_passfile(role_with_password: str, tmp_path: Path) -> None:
    passfile = tmp_path / "pass file"
    passfile.write_text("*:*:*:*:" + ODD.replace("\\", "\\\\").replace(":", "\\:") + "\n")
    passfile.chmod(0o600)
    with connected({"USER": role_with_password}, {"passfile": str(passfile)}):
        assert answer("SELECT session_user") == role_with_password


def test_service__the_parameters_of_django_win(role_with_password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq prefers a service to the environment, and a parameter to the service."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW unix_socket_directories")
        folder = cursor.fetchone()[0]
    (tmp_path / "services").write_text(
        f"[findme]\nhost={folder}\nport={connection.settings_dict['PORT']}\nuser=another\npassword=wrong\ndbname=postgres\noptions=-c work_mem=7MB\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    service = {"HOST": "", "PORT": "", "NAME": "", "USER": role_with_password, "PASSWORD": ODD}
    with connected(service, {"service": "findme"}):
        assert answer("SELECT session_user || current_setting('work_mem')") == f"{role_with_password}7MB"
        with connection.cursor() as cursor:
            cursor.execute("SELECT session_user || current_setting('work_mem')")
            assert cursor.fetchone()[0] == f"{role_with_password}7MB"


def test_several_hosts__the_program_reaches_the_server_of_the_session(older_server: int, tmp_path: Path) -> None:
    settings = connection.settings_dict
    both = {"HOST": f"{tmp_path},{settings['HOST']}", "PORT": f"1,{settings['PORT']}"}
    with connected(both, {}):
        assert program_connection(connection).environment["PGHOST"] == settings["HOST"].split(",")[1]
        assert answer("SHOW data_directory") == settings["HOST"].split(",")[1]


def test_lost_server__is_django_s_error(empty: Database, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> None:

    with connected({"HOST": str(tmp_path)}, {}), pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(connections[DEFAULT_DB_ALIAS]), "ensure_server", lambda _: None, raising=False)
        with pytest.raises(OperationalError):
            program_connection(connection)
