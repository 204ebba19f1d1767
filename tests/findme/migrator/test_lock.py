from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import psycopg
import pytest

from findme.core.errors import UserFacingError
from findme.migrator.lock import LOCK_KEY, migration_lock
from tests.support.database import Database
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

HOLDER = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
POLLED_AT = "SELECT query_start FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'findme migrate%'"
INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"


def this_process(purpose: str) -> str:
    return f"findme {purpose} {socket.gethostname()}:{os.getpid()}"


def has_polled(database: Database, polls: set[object]) -> bool:
    """Return whether the process was observed polling four times."""
    polls |= set(database.query(POLLED_AT))
    return len(polls) > 3


def test_lock__second_one__ends_at_the_deadline_and_names_the_holder(empty: Database) -> None:
    with migration_lock("backup"):
        (pid,) = empty.query(HOLDER)
        with pytest.raises(UserFacingError) as refused, migration_lock("migrate", seconds=0):
            pass
    assert str(refused.value) == (
        f"The migration lock was not free within 0 s: process {pid} ({this_process('backup')!r}) holds it."
        " Run the command again later, or wait longer with --wait-seconds."
    )


def test_lock__after_another_one__is_free(empty: Database) -> None:
    with migration_lock("migrate"):
        pass
    with migration_lock("migrate", seconds=0):
        assert len(empty.query(HOLDER)) == 1
    assert empty.query(HOLDER) == []


def test_lock__after_an_error__is_free(empty: Database) -> None:
    with pytest.raises(ZeroDivisionError), migration_lock("migrate"):
        raise ZeroDivisionError
    with migration_lock("migrate", seconds=0):
        pass


def test_lock__second_process__reports_the_holder_once_and_then_gets_it(empty: Database) -> None:
    said: list[str] = []
    held: list[str] = []
    polls: set[object] = set()

    def second() -> None:
        with migration_lock("migrate", seconds=60, on_warning=said.append):
            held.append("second")

    with ExitStack() as stack, migration_lock("rollback"):
        (pid,) = empty.query(HOLDER)
        stack.enter_context(in_thread(second))
        wait_until(lambda: has_polled(empty, polls))
        assert held == []
    assert held == ["second"]
    assert said == [f"Waiting up to 60 s for the migration lock: process {pid} ({this_process('rollback')!r}) holds it."]


def test_lock__in_two_databases__does_not_meet_itself(empty: Database) -> None:
    with migration_lock("migrate"), Database("postgres").connect() as session:
        assert session.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone() == (True,)


def test_check__lock_is_held__passes(empty: Database) -> None:
    with migration_lock("migrate") as lock:
        lock.check()


def test_check__session_was_ended__raises(empty: Database) -> None:
    with migration_lock("migrate") as lock:
        assert empty.query(f"SELECT pg_terminate_backend(pid, 60000) FROM ({HOLDER}) AS held") == [True]
        with pytest.raises(
            UserFacingError,
            match=r"^The connection that held the migration lock was lost \(.*\): no further migration was started\. Run it again\.$",
        ):
            lock.check()


def test_check__lock_was_released__raises(empty: Database) -> None:
    with migration_lock("migrate") as lock:
        lock.connection.cursor().execute("SELECT pg_advisory_unlock_all()")
        with pytest.raises(
            UserFacingError, match=r"was lost \(it now uses another session\).* set pool_mode = session\. Then run it again\.$"
        ):
            lock.check()


def test_waiting__inside_pg_advisory_lock__deadlocks_with_create_index_concurrently(empty: Database) -> None:
    """This is why the lock is polled: golang-migrate waits inside ``pg_advisory_lock``."""
    empty.execute("CREATE TABLE notes (text text)")

    def second() -> None:
        with empty.connect() as session:
            session.execute("SET deadlock_timeout = '1h'")  # the other session finds the deadlock
            session.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])

    with empty.connect() as first:
        first.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        with in_thread(second):
            wait_until(empty.waits_for_a_lock)
            with pytest.raises(psycopg.errors.DeadlockDetected):
                first.execute("CREATE INDEX CONCURRENTLY idx_notes_text ON notes (text)")
            first.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])
    assert empty.query(INVALID) == ["idx_notes_text"]


def test_waiting__for_the_polled_lock__lets_create_index_concurrently_end(empty: Database) -> None:
    empty.execute("CREATE TABLE notes (text text)")
    said: list[str] = []

    def second() -> None:
        with migration_lock("migrate", seconds=60, on_warning=said.append):
            pass

    with ExitStack() as stack, migration_lock("migrate"):
        stack.enter_context(in_thread(second))
        wait_until(lambda: said)
        empty.execute("CREATE INDEX CONCURRENTLY idx_notes_text ON notes (text)")
    assert empty.query(INVALID) == []
