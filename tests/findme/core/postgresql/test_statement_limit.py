"""The limit for a statement that PostgreSQL does not answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from django.db import OperationalError, connection, transaction

from findme.core.postgresql.statement_limit import limited_timeout, statement_limit
from tests.support.sessions import another_connection

SLEEP = "SELECT pg_sleep(0.6)"
LATE = r"^it has not answered for 0\.2 s$"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never answers, like PostgreSQL after SIGSTOP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_statement_limit__a_late_statement__raises_and_closes_the_connection() -> None:
    with statement_limit(0.2), pytest.raises(OperationalError, match=LATE):
        connection.cursor().execute(SLEEP)
    assert not connection.is_usable()
    connection.close()
    connection.cursor().execute("SELECT 1")


def test_statement_limit__a_late_statement_in_a_transaction() -> None:
    with statement_limit(0.2), pytest.raises(OperationalError, match=LATE), transaction.atomic():
        connection.cursor().execute(SLEEP)


def test_statement_limit__a_late_commit() -> None:
    connection.cursor().execute(
        "CREATE FUNCTION pg_temp.late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END';"
        " CREATE TEMP TABLE noted (number int);"
        " CREATE CONSTRAINT TRIGGER late AFTER INSERT ON noted INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.late()"
    )
    with statement_limit(0.2), pytest.raises(OperationalError, match=LATE), transaction.atomic():
        connection.cursor().execute("INSERT INTO noted VALUES (1)")


def test_statement_limit__none_lifts_it() -> None:
    with statement_limit(0.2), statement_limit(None):
        connection.cursor().execute(SLEEP)


def test_statement_limit__without_one__a_statement_may_take_long() -> None:
    with statement_limit(0.2):
        pass
    connection.cursor().execute(SLEEP)


def test_statement_limit__wait_for_a_notification__keeps_its_own_timeout() -> None:
    connection.ensure_connection()
    with statement_limit(0.1):
        begun = time.monotonic()
        assert list(connection.connection.notifies(timeout=0.5)) == []
        assert time.monotonic() - begun >= 0.5


def test_statement_limit__a_server_that_does_not_answer__ends_the_attempt_to_connect(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with another_connection() as other, monkeypatch.context() as patched:
        patched.setattr(other, "get_connection_params", lambda: {"host": "127.0.0.1", "port": silent_port, "dbname": "none"})
        with statement_limit(2), pytest.raises(OperationalError, match="timeout"):
            other.ensure_connection()


@pytest.mark.parametrize(
    ("limit", "given", "expected"),
    [
        (None, "10", {}),
        (30.0, "10", {}),
        (5.1, "10", {"connect_timeout": 6}),
        (30.0, "0", {"connect_timeout": 30}),
        (30.0, None, {"connect_timeout": 30}),
    ],
)
def test_limited_timeout(limit: float | None, given: str | None, expected: dict[str, int]) -> None:
    with statement_limit(limit):
        assert limited_timeout(given) == expected
