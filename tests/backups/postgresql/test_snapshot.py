"""An exported snapshot: one moment, for any number of sessions, however long they take."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from django.db import InternalError, OperationalError, ProgrammingError, connection
from pytest_django import DjangoDbBlocker

from backups.postgresql.snapshot import Snapshot, exported_snapshot
from findme.core.errors import UserFacingError
from findme.database_url import database_settings
from findme.embedded import server
from tests.findme.core.postgresql.standby import hot_standby
from tests.support.database import Database
from tests.support.waiting import wait_until

TIMEOUTS = ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout")


def numbers(snapshot: Snapshot) -> list[int]:
    with snapshot.connection.cursor() as cursor:
        cursor.execute("SELECT n FROM numbers ORDER BY n")
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture
def filled(empty: Database) -> Database:
    empty.execute("CREATE TABLE numbers (n int)")
    empty.execute("INSERT INTO numbers VALUES (1)")
    return empty


def test_exported_snapshot__later_commits_are_not_in_it(filled: Database) -> None:
    with exported_snapshot(connection) as snapshot:
        filled.execute("INSERT INTO numbers VALUES (2)")
        assert numbers(snapshot) == [1]
        with filled.connect() as session:
            session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            session.execute(f"SET TRANSACTION SNAPSHOT '{snapshot.id}'".encode())
            assert session.execute("SELECT n FROM numbers").fetchall() == [(1,)]


def test_exported_snapshot__what_committed_before_its_time_is_in_it(filled: Database) -> None:
    [before] = filled.query("SELECT clock_timestamp()")
    with exported_snapshot(connection) as snapshot:
        [after] = filled.query("SELECT clock_timestamp()")
        assert before < snapshot.taken_at < after
        assert numbers(snapshot) == [1]


def test_exported_snapshot__reads_only(filled: Database) -> None:
    with exported_snapshot(connection) as snapshot, snapshot.connection.cursor() as cursor, pytest.raises(InternalError):
        cursor.execute("INSERT INTO numbers VALUES (3)")


def test_exported_snapshot__no_time_limit_ends_it(filled: Database) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_settings WHERE name = ANY(%s)", [list(TIMEOUTS)])
        limits = [name for (name,) in cursor.fetchall()]
        for name in limits:
            cursor.execute(f"ALTER DATABASE {filled.name} SET {name} = '10min'")
    with exported_snapshot(connection) as snapshot, snapshot.connection.cursor() as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [limits])
        assert dict(cursor.fetchall()) == dict.fromkeys(limits, "0")


def test_exported_snapshot__ends_with_the_block(filled: Database) -> None:
    pids = []

    def fail() -> None:
        with exported_snapshot(connection) as snapshot:
            pids.append(snapshot.connection.connection.info.backend_pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    wait_until(lambda: not filled.query("SELECT pid FROM pg_stat_activity WHERE pid = %s", pids[0]))


def test_exported_snapshot__a_failed_query_keeps_its_own_error(filled: Database) -> None:
    with (
        pytest.raises(ProgrammingError, match="numbers2"),
        exported_snapshot(connection) as snapshot,
        snapshot.connection.cursor() as cursor,
    ):
        cursor.execute("SELECT n FROM numbers2")


def test_exported_snapshot__a_lost_session_never_connects_again(filled: Database) -> None:
    """Another session would see another moment."""
    with exported_snapshot(connection) as snapshot:
        pid = snapshot.connection.connection.info.backend_pid
        filled.query("SELECT pg_terminate_backend(%s, 60000)", pid)
        for _ in range(2):
            with pytest.raises(OperationalError):
                numbers(snapshot)


def test_exported_snapshot__pooler_that_shares_sessions__is_refused(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("findme.migrator.lock._backend_pid", lambda _: 1)
    with pytest.raises(UserFacingError, match="A pooler gives each transaction another session"), exported_snapshot(connection):
        pytest.fail("exported")


@pytest.mark.at_length
@pytest.mark.long
def test_exported_snapshot__standby(open_folder: Path, django_db_blocker: DjangoDbBlocker) -> None:
    """A base backup copies a whole server, so the server is the test's own."""
    primary = server.ensure_running(open_folder / "primary", durable=False)
    with psycopg.connect(primary.url, autocommit=True) as session:
        session.execute("CREATE TABLE numbers AS SELECT 1 AS n")
    with (
        hot_standby(primary, open_folder / "standby") as url,
        pytest.MonkeyPatch.context() as patch,
        django_db_blocker.unblock(),
    ):
        connection.close()
        patch.setattr("findme.embedded.backend.base.DatabaseWrapper.ensure_server", lambda _: None)
        for name, value in database_settings(url).items():
            patch.setitem(connection.settings_dict, name, value)
        try:
            wait_until(is_replayed)
            with exported_snapshot(connection) as snapshot:
                assert numbers(snapshot) == [1]
        finally:
            connection.close()


def is_replayed() -> bool:
    """Return whether Django is connected to a standby that has the row."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery(), n FROM numbers")
            return bool(cursor.fetchone() == (True, 1))
    except (OperationalError, ProgrammingError):
        connection.close()
        return False
