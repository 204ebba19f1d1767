"""A service of the migration guide, as a process: it writes the four tables by plain SQL until its standard input ends.

    python -m tests.support.guide.services CONNINFO SEED PAUSE_SECONDS

At the end it prints what it expects in its rows, its errors and its longest wait, as JSON (``Report``).
"""

from __future__ import annotations

import json
import random
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from tests.schema.guide import ANONYMIZE, HARD_DELETE, SOFT_DELETE
from tests.support.database import Database
from tests.support.guide.rows import ANSWER, BEGAN, END_CALL, ENDED, Session, add_call, add_match, add_user, add_video, run
from tests.support.processes import start_python
from tests.support.untraced import untraced

PAUSE_SECONDS = 0.01
"""Between two writes."""
STARTED = "started"
USERS = "SELECT email, full_name, bio, deleted_at IS NOT NULL, video_id::text FROM users WHERE id = %s"
MATCHES = "SELECT status, user_action FROM matches WHERE id = %s"
CALLS = "SELECT status, duration FROM video_calls WHERE id = %s"
QUERIES = {"users": USERS, "matches": MATCHES, "video_calls": CALLS}


@dataclass
class Report:
    """What a service has done. ``rows`` has what ``QUERIES`` must return, by table and id; None means no row."""

    writes: int = 0
    longest_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, list[Any] | None]] = field(default_factory=lambda: {table: {} for table in QUERIES})


class Service:
    """Writes its own users, videos, matches and calls only. So it knows what they must be."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session, self.seed, self.random = session, seed, random.Random(seed)
        self.report = Report()
        self.users: list[UUID] = []
        self.matches: dict[UUID, tuple[UUID, UUID]] = {}
        """The users of each match that the service has added."""
        self.calls: dict[UUID, UUID] = {}
        """The match of each call."""
        self.number = 0

    def write(self) -> None:
        """Do one of the things that a service does, in one transaction, and note how long it took."""
        acts: list[tuple[Callable[[], None], int]] = [
            (self._add_user, 5), (self._new_bio, 4), (self._add_match, 5), (self._answer, 4), (self._call, 4), (self._hang_up, 3),
            (self._leave, 2),
        ]  # fmt: skip
        act = self.random.choices([one for one, _ in acts], [weight for _, weight in acts])[0]
        began = time.monotonic()
        try:
            with self.session.transaction():
                act()
            self.report.writes += 1
        except psycopg.Error as error:
            self.report.errors.append(f"{act.__name__}: {error.sqlstate} {error}")
        self.report.longest_seconds = max(self.report.longest_seconds, time.monotonic() - began)

    def _expect(self, table: str, key: UUID) -> None:
        """Note the row as this transaction sees it."""
        found = self.session.execute(QUERIES[table].encode(), [key]).fetchone()
        self.report.rows[table][str(key)] = None if found is None else list(found)

    def _add_user(self) -> None:
        self.number += 1
        added = add_user(self.session, self.number, f"service{self.seed}-")
        if self.number % 2:
            add_video(self.session, added, self.number)
        self.users.append(added)
        self._expect("users", added)

    def _new_bio(self) -> None:
        if self.users:
            user_id = self.random.choice(self.users)
            self.session.execute("UPDATE users SET bio = %s WHERE id = %s", [f"Bio {self.random.random()}", user_id])
            self._expect("users", user_id)

    def _add_match(self) -> None:
        if len(self.users) > 1:
            self.number += 1
            pair = self.random.sample(self.users, 2)
            added = add_match(self.session, pair[0], pair[1], self.number)  # the week of no other match
            self.matches[added] = (pair[0], pair[1])
            self._expect("matches", added)

    def _answer(self) -> None:
        if matches := self._of_present_users():
            match_id = self.random.choice(matches)
            self.session.execute(ANSWER, ["accepted", "accepted", "accepted", match_id])
            self._expect("matches", match_id)

    def _call(self) -> None:
        if matches := self._of_present_users():
            self.number += 1
            match_id = self.random.choice(matches)
            pair = self.matches[match_id]
            added = add_call(self.session, match_id, pair[self.number % 2], pair[1 - self.number % 2], f"service{self.seed}-{self.number}")
            self.calls[added] = match_id
            self._expect("video_calls", added)

    def _hang_up(self) -> None:
        present = set(self._of_present_users())
        if calls := [call_id for call_id, match_id in self.calls.items() if match_id in present]:
            call_id = self.random.choice(calls)
            self.session.execute(END_CALL, [BEGAN, ENDED, 750, 5, call_id])
            self._expect("video_calls", call_id)

    def _of_present_users(self) -> list[UUID]:
        """Return the last matches whose users are both not deleted."""
        present = set(self.users)
        return [match_id for match_id, pair in self.matches.items() if present.issuperset(pair)][-20:]

    def _leave(self) -> None:
        """A user is deleted by one of the guide's statements. Deleted for good, the user's matches and calls are gone too."""
        if len(self.users) > 5:
            user_id = self.users.pop(self.random.randrange(len(self.users)))
            run(self.session, self.random.choice((SOFT_DELETE, ANONYMIZE, HARD_DELETE)), user_id)
            self._expect("users", user_id)
            matches = {match_id for match_id, pair in self.matches.items() if user_id in pair}
            for match_id in matches:
                self._expect("matches", match_id)
            for call_id, match_id in self.calls.items():
                if match_id in matches:
                    self._expect("video_calls", call_id)


def main(conninfo: str, seed: int, pause_seconds: float) -> None:
    with psycopg.connect(conninfo, autocommit=True) as session:
        service = Service(session, seed)
        print(STARTED, flush=True)  # noqa: T201  # for the process that started this one
        while not select.select([sys.stdin], [], [], pause_seconds)[0]:
            service.write()
    json.dump(vars(service.report), sys.stdout)


def report_of(process: subprocess.Popen[str]) -> Report:
    """End the service, and return its report."""
    out, err = process.communicate("", timeout=120)
    assert process.returncode == 0, err
    return Report(**json.loads(out))


@contextmanager
def services(database: Database, count: int = 2, pause_seconds: float = PAUSE_SECONDS) -> Iterator[list[Report]]:
    """Run services during the block, from its beginning on. The list has their reports afterwards."""
    reports: list[Report] = []
    processes = [
        start_python(untraced(), "-m", "tests.support.guide.services", database.url(), seed, pause_seconds, stdin=subprocess.PIPE)
        for seed in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == STARTED
        yield reports
        reports.extend(map(report_of, processes))
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def differences(session: Session, report: Report) -> list[str]:
    """Return the rows that are not as the service left them."""
    return [
        f"{table} {key}: {found}, not {row}"
        for table, rows in report.rows.items()
        for key, row in rows.items()
        if (found := _row(session, table, key)) != row
    ]


def _row(session: Session, table: str, key: str) -> list[Any] | None:
    found = session.execute(QUERIES[table].encode(), [key]).fetchone()
    return None if found is None else list(found)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
