"""The two users of a call are those of its match, also with two transactions at once, at every isolation level."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from tests.schema.rows import ANN, BOB, CEM, MATCH, UNUSED_ID, connect
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.django_db  # otherwise no database is created if only these tests run

RULE, OF_MATCH, OF_ID = "video_calls_users_of_match_check", "matches_users_check", "video_calls_match_id_fkey"
NEW_MATCH = "INSERT INTO matches (id, user_id, matched_user_id, week_number, year, match_score, expires_at) VALUES"
NEW_CALL = f"INSERT INTO video_calls (match_id, caller_id, callee_id, session_id) VALUES ('{MATCH}', '{BOB}', '{ANN}', 'race')"
OTHER_USERS = f"UPDATE matches SET matched_user_id = '{CEM}' WHERE id = '{MATCH}'"
SWAPPED_USERS = f"UPDATE matches SET user_id = '{BOB}', matched_user_id = '{ANN}' WHERE id = '{MATCH}'"
REPLACED = f"DELETE FROM matches WHERE id = '{MATCH}'; {NEW_MATCH} ('{MATCH}', '{ANN}', '{CEM}', 1, 2026, 1, now())"
SERIALIZATION_FAILURE = "40001"
LEVELS = list(psycopg.IsolationLevel)[1:]
CHECKED = {"deferred": "", "rule-immediate": f"SET CONSTRAINTS {RULE} IMMEDIATE", "all-immediate": "SET CONSTRAINTS ALL IMMEDIATE"}
"""When the rule is checked: at COMMIT, or after the statement, together with the foreign keys or before them."""


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
        connection.execute(f"{NEW_MATCH} (%s, %s, %s, 1, 2026, 1, now())", [MATCH, ANN, BOB])
        yield connection
        connection.execute("DELETE FROM users WHERE id = ANY (%s)", [[ANN, BOB, CEM]])
        connection.execute("DELETE FROM erased_users WHERE user_id = ANY (%s)", [[ANN, BOB, CEM]])


class Transaction:
    """A transaction on its own connection, with this isolation level. Its statement may wait for another transaction."""

    def __init__(self, isolation: psycopg.IsolationLevel, statement: str, then: str = "") -> None:
        self.connection = connect()
        self.connection.isolation_level = isolation
        self.connection.execute("SELECT 1")  # takes the snapshot of REPEATABLE READ
        self.pid = self.connection.info.backend_pid
        self.statements = [statement, *([then] if then else [])]
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
            self.thread.join(DEADLINE_SECONDS)
            assert not self.thread.is_alive()
        self.connection.close()
        return (self.error.diag.constraint_name or self.error.sqlstate) if self.error else None


MISMATCHED = """
    SELECT count(*) FROM video_calls c JOIN matches m ON m.id = c.match_id
    WHERE least(m.user_id, m.matched_user_id) <> least(c.caller_id, c.callee_id)
    OR greatest(m.user_id, m.matched_user_id) <> greatest(c.caller_id, c.callee_id)
"""


def run_both(server: psycopg.Connection, one: Transaction, other: Transaction) -> list[str | None]:
    """Run the second transaction while the first one is open. Return the end of each, after checking that no call has wrong users."""
    one.run(commit=False)
    other.begin_to_end(server)
    one.commit()
    ends = [one.end(), other.end()]
    assert server.execute(MISMATCHED).fetchone() == (0,)
    return ends


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("isolation", LEVELS, ids=lambda level: level.name.lower())
@pytest.mark.parametrize("checked", CHECKED)
@pytest.mark.parametrize("is_call_first", [True, False], ids=["call-first", "match-first"])
def test_race__a_new_call_and_other_users_for_its_match__the_match_is_refused(
    server: psycopg.Connection, isolation: psycopg.IsolationLevel, checked: str, is_call_first: bool
) -> None:
    call, match = Transaction(isolation, NEW_CALL, CHECKED[checked]), Transaction(isolation, OTHER_USERS)
    ends = run_both(server, *((call, match) if is_call_first else (match, call)))
    assert ends == ([None, OF_MATCH] if is_call_first else [OF_MATCH, None])


@pytest.mark.parametrize("isolation", LEVELS, ids=lambda level: level.name.lower())
@pytest.mark.parametrize("checked", CHECKED)
@pytest.mark.parametrize("is_call_first", [True, False], ids=["call-first", "match-first"])
def test_race__a_new_call_and_another_match_with_the_same_id__no_call_has_wrong_users(
    server: psycopg.Connection, isolation: psycopg.IsolationLevel, checked: str, is_call_first: bool
) -> None:
    """A call that was committed first is deleted with its match.

    Its check locks the match, as a foreign key does. Only the example call-first, rule-immediate, read_committed fails without that lock.
    """
    call, match = Transaction(isolation, NEW_CALL, CHECKED[checked]), Transaction(isolation, REPLACED)
    ends = run_both(server, *((call, match) if is_call_first else (match, call)))
    assert None in ends
    assert {end for end in ends if end} <= {RULE, OF_ID, SERIALIZATION_FAILURE}


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("isolation", LEVELS, ids=lambda level: level.name.lower())
@pytest.mark.parametrize("checked", CHECKED)
@pytest.mark.parametrize("caller", [BOB, CEM], ids=["right", "wrong"])
def test_race__a_new_call_and_a_match_after_its_snapshot__is_never_accepted_unseen(
    server: psycopg.Connection, isolation: psycopg.IsolationLevel, checked: str, caller: UUID
) -> None:
    call = Transaction(isolation, NEW_CALL.replace(str(MATCH), str(UNUSED_ID)).replace(str(BOB), str(caller)), CHECKED[checked])
    server.execute(f"{NEW_MATCH} (%s, %s, %s, 2, 2026, 1, now())", [UNUSED_ID, ANN, BOB])
    call.run(commit=True)
    end = call.end()
    if isolation is psycopg.IsolationLevel.READ_COMMITTED:
        assert end == (None if caller == BOB else RULE)
    else:
        assert end in {RULE, OF_ID, SERIALIZATION_FAILURE}
    assert server.execute(MISMATCHED).fetchone() == (0,)


@pytest.mark.parametrize("checked", CHECKED)
@pytest.mark.parametrize("is_call_first", [True, False], ids=["call-first", "match-first"])
def test_race__a_new_call_and_swapped_users__both_succeed(server: psycopg.Connection, checked: str, is_call_first: bool) -> None:
    level = psycopg.IsolationLevel.READ_COMMITTED
    call, match = Transaction(level, NEW_CALL, CHECKED[checked]), Transaction(level, SWAPPED_USERS)
    assert run_both(server, *((call, match) if is_call_first else (match, call))) == [None, None]
