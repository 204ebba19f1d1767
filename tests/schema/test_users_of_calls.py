"""The two users of a call are those of its match, in either order, after a change of either row, and with two transactions at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from tests.schema.rows import ANN, BOB, CEM, FOREIGN_KEY, MATCH, ask, connect, insert, refused, settle, update
from tests.support.waiting import wait_until

RULE = "video_calls_users_of_match_fkey"
NEW_CALL = f"INSERT INTO video_calls (match_id, caller_id, callee_id, session_id) VALUES ('{MATCH}', '{BOB}', '{ANN}', 'race')"
OTHER_USERS = f"UPDATE matches SET matched_user_id = '{CEM}' WHERE id = '{MATCH}'"
SERIALIZATION_FAILURE = "40001"


def test_call__either_user_can_be_the_caller(users: None) -> None:
    insert("video_calls", caller_id=ANN, callee_id=BOB)
    insert("video_calls", caller_id=BOB, callee_id=ANN)
    settle()


def test_match__with_calls__cannot_change_its_users(users: None) -> None:
    insert("video_calls")
    with refused(RULE, FOREIGN_KEY):
        update("matches", MATCH, matched_user_id=CEM)
    with refused(RULE, FOREIGN_KEY):
        update("matches", MATCH, user_id=CEM)


def test_match__with_calls__can_swap_its_users(users: None) -> None:
    insert("video_calls")
    update("matches", MATCH, user_id=BOB, matched_user_id=ANN)
    settle()


def test_match_and_calls__can_change_together(users: None) -> None:
    call = insert("video_calls")
    update("matches", MATCH, matched_user_id=CEM)
    update("video_calls", call, callee_id=CEM)
    settle()


def test_match__without_calls__can_change_its_users(users: None) -> None:
    update("matches", MATCH, matched_user_id=CEM)
    settle()


def test_call__cannot_move_to_a_match_of_other_users(users: None) -> None:
    call, others = insert("video_calls"), insert("matches", user_id=BOB, matched_user_id=CEM)
    with refused(RULE, FOREIGN_KEY):
        update("video_calls", call, match_id=others)


def test_match__is_deleted_with_its_calls(users: None) -> None:
    insert("video_calls")
    ask("DELETE FROM matches WHERE id = %s", MATCH)
    settle()
    assert ask("SELECT count(*) FROM video_calls") == [(0,)]


# --- Concurrent transactions --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(django_db_setup: None) -> Iterator[psycopg.Connection]:
    """Return a second connection. Commit three users and a match of two of them, and delete them afterwards."""
    with connect() as connection:
        connection.autocommit = True
        for key, name in ((ANN, "ann"), (BOB, "bob"), (CEM, "cem")):
            connection.execute(
                "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, %s, '', '', '1990-01-01', 'other')",
                [key, f"{name}@race.example.com"],
            )
        connection.execute(
            "INSERT INTO matches (id, user_id, matched_user_id, week_number, year, match_score, expires_at) VALUES (%s, %s, %s, 1, 2026, 1, now())",
            [MATCH, ANN, BOB],
        )
        yield connection
        connection.execute("DELETE FROM users WHERE id = ANY (%s)", [[ANN, BOB, CEM]])
        connection.execute("DELETE FROM erased_users WHERE user_id = ANY (%s)", [[ANN, BOB, CEM]])


class Transaction:
    """A transaction on its own connection, with this isolation level. Its statement may wait for another transaction."""

    def __init__(self, isolation: psycopg.IsolationLevel, statement: str, *, checked_at_once: bool) -> None:
        self.connection = connect()
        self.connection.isolation_level = isolation
        self.connection.execute("SELECT 1")  # takes the snapshot of REPEATABLE READ
        self.pid = self.connection.info.backend_pid
        self.statements = [statement, *(["SET CONSTRAINTS ALL IMMEDIATE"] if checked_at_once else [])]
        self.error: psycopg.Error | None = None
        self.thread: threading.Thread | None = None

    def run(self, *, commit: bool) -> None:
        try:
            for statement in self.statements:
                self.connection.execute(statement)
            if commit:
                self.connection.commit()
        except psycopg.Error as error:
            self.error = error
            self.connection.rollback()

    def begin_to_end(self, server: psycopg.Connection) -> None:
        """Run and commit in a thread. Return when the thread has ended or waits."""
        self.thread = thread = threading.Thread(target=self.run, kwargs={"commit": True})
        thread.start()
        wait_until(lambda: not thread.is_alive() or self._waits(server), "The thread ends or waits", poll_seconds=0.005)

    def _waits(self, server: psycopg.Connection) -> bool:
        row = server.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [self.pid]).fetchone()
        return row is not None and bool(row[0])

    def commit(self) -> None:
        try:
            self.connection.commit()
        except psycopg.Error as error:
            self.error = error
            self.connection.rollback()

    def end(self) -> str | None:
        """Return None after a commit, or the violated constraint, or the SQLSTATE."""
        if self.thread is not None:
            self.thread.join(20)
            assert not self.thread.is_alive()
        self.connection.close()
        return (self.error.diag.constraint_name or self.error.sqlstate) if self.error else None


@pytest.mark.parametrize("isolation", list(psycopg.IsolationLevel)[1:], ids=lambda level: level.name.lower())
@pytest.mark.parametrize("checked_at_once", [False, True], ids=["deferred", "immediate"])
@pytest.mark.parametrize(("first", "second"), [(NEW_CALL, OTHER_USERS), (OTHER_USERS, NEW_CALL)], ids=["call-first", "match-first"])
def test_race__a_new_call_and_other_users_for_its_match__one_fails(
    server: psycopg.Connection, isolation: psycopg.IsolationLevel, checked_at_once: bool, first: str, second: str
) -> None:
    one, other = (Transaction(isolation, statement, checked_at_once=checked_at_once) for statement in (first, second))
    one.run(commit=False)
    other.begin_to_end(server)
    one.commit()
    ends = [one.end(), other.end()]
    allowed = {RULE} if isolation is psycopg.IsolationLevel.READ_COMMITTED else {RULE, SERIALIZATION_FAILURE}
    assert ends.count(None) == 1
    assert {end for end in ends if end} <= allowed
    mismatched = "SELECT count(*) FROM video_calls c JOIN matches m ON m.id = c.match_id WHERE NOT ARRAY[m.user_id, m.matched_user_id] @> ARRAY[c.caller_id, c.callee_id]"
    assert server.execute(mismatched).fetchone() == (0,)


@pytest.mark.parametrize("checked_at_once", [False, True], ids=["deferred", "immediate"])
def test_race__a_new_call_and_swapped_users__both_succeed(server: psycopg.Connection, checked_at_once: bool) -> None:
    turned = f"UPDATE matches SET user_id = '{BOB}', matched_user_id = '{ANN}' WHERE id = '{MATCH}'"
    one, other = (
        Transaction(psycopg.IsolationLevel.READ_COMMITTED, statement, checked_at_once=checked_at_once) for statement in (NEW_CALL, turned)
    )
    one.run(commit=False)
    other.begin_to_end(server)
    one.commit()
    assert [one.end(), other.end()] == [None, None]
