"""Services of the migration guide: they write its four tables with its own statements, and time every statement."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from uuid import uuid4

import psycopg

REGISTER = """
    INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender)
    VALUES (%s, %s, 'not-a-hash', 'New User', '1990-01-02', 'other')
"""
UPLOAD = "INSERT INTO videos (id, user_id, storage_url, duration, file_size) VALUES (%s, %s, 's3://new', 30, 1000)"
CHOOSE_VIDEO = "UPDATE users SET video_id = %s, bio = 'I like the sea.' WHERE id = %s"
MATCH = """
    INSERT INTO matches (id, user_id, matched_user_id, week_number, year, match_score, expires_at)
    VALUES (%s, %s, %s, %s, %s, 0.5, NOW() + INTERVAL '7 days')
"""
ACCEPT = "UPDATE matches SET user_action = 'accepted', status = 'accepted' WHERE id = %s"
CALL = "INSERT INTO video_calls (match_id, caller_id, callee_id, session_id) VALUES (%s, %s, %s, %s)"
END_CALL = """
    UPDATE video_calls SET status = 'ended', started_at = NOW() - INTERVAL '1 minute', ended_at = NOW(), duration = 60 WHERE session_id = %s
"""
RENAME = "UPDATE users SET full_name = 'Renamed User' WHERE id = %s"
SOFT_DELETE = "UPDATE users SET deleted_at = NOW() WHERE id = %s"
HARD_DELETE = "DELETE FROM users WHERE id = %s"


@dataclass(slots=True)
class Report:
    """What the writers saw: the longest time of a statement or COMMIT in seconds, the numbers of both, and the errors."""

    longest: float = 0.0
    slowest: str = ""
    statements: int = 0
    transactions: int = 0
    errors: list[psycopg.Error] = field(default_factory=list)


class Writers:
    """Threads that write until the block ends. Half of them write several tables in one transaction, in both orders.

    ``tables`` is how many tables of the guide exist, in its order. ``pause`` is in seconds, after each story.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], count: int = 4, tables: int = 4, pause: float = 0.0) -> None:
        self.connect, self.count, self.tables, self.pause = connect, count, tables, pause
        self.report = Report()
        self._stop, self._threads = threading.Event(), list[threading.Thread]()
        self._lock = threading.Lock()

    def __enter__(self) -> Writers:
        self._threads = [threading.Thread(target=self._write, args=(number,), daemon=True) for number in range(self.count)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        with self.connect() as session:
            session.autocommit = number % 2 == 0
            randomness = random.Random(number)  # noqa: S311  # no secret
            while not self._stop.is_set():
                try:
                    self._one_story(session, randomness)
                except psycopg.Error as error:
                    with self._lock:
                        self.report.errors.append(error)
                    if session.closed:
                        return
                    session.rollback()
                time.sleep(self.pause)

    def _one_story(self, session: psycopg.Connection[Any], randomness: random.Random) -> None:
        """Two users register, one uploads a video, they are matched, and they call each other. Some are deleted."""
        users, video, match, call = sorted(uuid4() for _ in range(2)), uuid4(), uuid4(), uuid4().hex
        week, year = randomness.randint(1, 52), randomness.randint(2000, 2040)
        for user_id in users:
            self._run(session, REGISTER, [user_id, f"{user_id}@example.com"])
        if self.tables > 1:
            self._run(session, UPLOAD, [video, users[0]])
            self._run(session, CHOOSE_VIDEO, [video, users[0]])
        self._commit(session)
        if self.tables > 2:
            self._run(session, MATCH, [match, *users, week, year])
            self._run(session, ACCEPT, [match])
        if self.tables > 3:
            self._run(session, CALL, [match, *users, call])
            self._run(session, END_CALL, [call])
        self._run(session, randomness.choice([SOFT_DELETE, HARD_DELETE, RENAME]), [users[0]])
        self._commit(session)

    def _run(self, session: psycopg.Connection[Any], statement: str, values: Sequence[Any]) -> None:
        begun = time.perf_counter()
        try:
            session.execute(statement.encode(), values)
        finally:
            self._note(statement, time.perf_counter() - begun)

    def _commit(self, session: psycopg.Connection[Any]) -> None:
        begun = time.perf_counter()
        session.commit()
        self._note("COMMIT", time.perf_counter() - begun, transactions=1)

    def _note(self, statement: str, seconds: float, transactions: int = 0) -> None:
        with self._lock:
            self.report.statements += 1
            self.report.transactions += transactions
            if seconds > self.report.longest:
                self.report.longest, self.report.slowest = seconds, " ".join(statement.split())
