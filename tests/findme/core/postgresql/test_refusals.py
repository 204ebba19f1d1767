"""Errors of PostgreSQL that a waiting job reports at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import Error, InternalError, OperationalError, ProgrammingError, connection, connections
from psycopg import errors

from findme.core.postgresql.base import DatabaseWrapper
from findme.core.postgresql.refusals import needs_operator
from findme.database_url import database_settings
from tests.findme.core.postgresql.refusing import refusing_server
from tests.qdrant import free_port
from tests.support.commands import environment


@contextmanager
def default_connection(url: str) -> Iterator[DatabaseWrapper]:
    """Replace the default connection of this thread by a connection to ``url``."""
    before, made = connections["default"], DatabaseWrapper({**connection.settings_dict, **database_settings(url)})
    connections["default"] = made
    try:
        yield made
    finally:
        made.close()
        connections["default"] = before


def refusal_of(url: str) -> bool:
    """Return whether the error of a connection to ``url`` needs the operator."""
    with default_connection(url) as made:
        with pytest.raises(OperationalError) as raised, made.wrap_database_errors:
            made.connect()
        assert getattr(raised.value.__cause__, "sqlstate", None) is None
        return needs_operator(raised.value)


@pytest.mark.parametrize(
    ("sqlstate", "severity", "words"),
    [
        ("28P01", "FATAL", 'password authentication failed for user "ann"'),
        ("28P01", "FATAL", "Passwort-Authentifizierung für Benutzer »ann« fehlgeschlagen"),
        ("28P01", "ВАЖНО", "пользователь не прошёл проверку подлинности"),
        ("28000", "FATAL", 'no pg_hba.conf entry for host "10.0.0.1", user "ann", database "findme", no encryption'),
        ("28000", "FATAL", 'ロール"ann"は存在しません'),
        ("3D000", "FATAL", "la base de données « findme » n'existe pas"),
        ("42501", "FATAL", 'permission denied for database "findme"'),
        ("08P01", "FATAL", "SASL authentication failed"),
        ("08P01", "FATAL", 'database "findme" does not exist'),
        ("08P01", "FATAL", "server login failed: FATAL password authentication failed for user"),
    ],
)
def test_needs_operator__server_that_rejects(sqlstate: str, severity: str, words: str) -> None:
    with refusing_server(sqlstate, words, severity) as url:
        assert refusal_of(url)


@pytest.mark.parametrize(
    ("sqlstate", "words"),
    [
        ("57P03", "the database system is starting up"),
        ("57P03", "das Datenbanksystem startet"),
        ("57P03", "система баз данных останавливается"),
        ("53300", "sorry, too many clients already"),
        ("53300", 'password authentication failed for user "ann"'),
        ("08P01", "query_wait_timeout"),
        ("08P01", "pgbouncer cannot connect to server"),
        ("08P01", "no more connections allowed (max_client_conn)"),
    ],
)
def test_needs_operator__server_that_may_accept_later(sqlstate: str, words: str) -> None:
    with refusing_server(sqlstate, words) as url:
        assert not refusal_of(url)


def test_needs_operator__no_server_or_a_closed_connection() -> None:
    assert not refusal_of(f"postgresql://ann@127.0.0.1:{free_port()}/findme")
    assert not refusal_of("postgresql:///findme?host=/nonexistent")
    with refusing_server() as url:
        assert not refusal_of(url)


def test_needs_operator__no_tls() -> None:
    with refusing_server("57P03") as url:
        assert refusal_of(f"{url}?sslmode=require")
        assert refusal_of(f"{url}?sslmode=verify-full&sslrootcert=/nonexistent")


@pytest.mark.django_db
def test_needs_operator__missing_database_or_role() -> None:
    url = environment()["DATABASE_URL"]
    assert refusal_of(f"{url}&dbname=no_such_database")
    assert refusal_of(f"{url}&user=no_such_role")


@pytest.mark.parametrize(
    ("kind", "cause", "expected"),
    [
        (OperationalError, errors.InvalidPassword, True),
        (OperationalError, errors.InvalidCatalogName, True),
        (OperationalError, errors.DatabaseDropped, True),
        (OperationalError, errors.TooManyColumns, True),
        (ProgrammingError, errors.InsufficientPrivilege, True),
        (InternalError, errors.DataCorrupted, True),
        (InternalError, errors.IdleInTransactionSessionTimeout, False),
        (InternalError, errors.InternalError_, False),
        (OperationalError, errors.AdminShutdown, False),
        (OperationalError, errors.CannotConnectNow, False),
        (OperationalError, errors.LockNotAvailable, False),
        (OperationalError, errors.DeadlockDetected, False),
        (OperationalError, errors.DiskFull, False),
        (OperationalError, errors.QueryCanceled, False),
    ],
)
def test_needs_operator__an_error_with_a_sqlstate(kind: type[Error], cause: type[errors.Error], expected: bool) -> None:
    error = kind("words")
    error.__cause__ = cause("words")
    assert needs_operator(error) is expected


@pytest.mark.django_db
@pytest.mark.parametrize("is_default", [True, False])
def test_needs_operator__read_only_session(is_default: bool) -> None:
    """If a new session can write, the old session is from before a failover."""
    options = "&options=-cdefault_transaction_read_only%3Don" if is_default else ""
    with default_connection(environment()["DATABASE_URL"] + options) as made, made.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        with pytest.raises(InternalError) as raised:
            cursor.execute("CREATE TABLE never_made ()")
        assert needs_operator(raised.value) is is_default


def test_needs_operator__without_a_cause() -> None:
    assert not needs_operator(OperationalError("it has not answered for 30 s"))
    assert not needs_operator(RuntimeError("FATAL:  words"))
