"""A program that anonymizes and deletes users all the time, in every way of the project and of the migration guide."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import psycopg
from django.db import OperationalError
from psycopg import errors

from accounts.models import User
from findme.core.errors import UserFacingError
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from tests.privacy.leftovers import left_over
from tests.privacy.storm.ledger import Ledger
from tests.privacy.storm.program import Program
from tests.support.database import Database

WAYS = ("anonymize", "erase", "guide_anonymizes", "guide_deletes", "orm_deletes")
"""Each way is used at least once."""
GUIDE = """
    UPDATE users SET email = 'deleted_' || id || '@findme.ai', full_name = 'Deleted User', bio = NULL, password_hash = '', deleted_at = NOW()
    WHERE id = %s
"""


class Eraser(Program):
    """Erase the ``victims`` one after another, and sometimes one of the ``others``, which other writers change.

    An erasure that fails, because Qdrant is unavailable or another transaction locks the rows, is retried later.
    """

    pause_seconds = 0.05

    def __init__(
        self, database: Database, seed: int, victims: list[UUID], others: list[UUID], ledger: Ledger, over: threading.Event
    ) -> None:
        super().__init__(over)
        self.database, self.victims, self.others, self.ledger = database, list(victims), others, ledger
        self.random = random.Random(seed)
        self.at_least = len(victims) // 2
        self.counts: Counter[str] = Counter()
        self.not_done = 0

    def work(self) -> None:
        ways: list[Callable[[psycopg.Connection[object], UUID], bool]] = [
            self._anonymize, self._erase, self._guide_anonymizes, self._guide_deletes, self._orm_deletes,
        ]  # fmt: skip
        with self.database.connect() as session:
            session.execute("SET statement_timeout = '100s'")
            for number in self.turns():
                self._erase_one(session, ways[number % len(ways)])

    def missing(self) -> list[str]:
        lines = [f"no user was erased by {way}" for way in WAYS if not self.counts[way]]
        erased = len(self.ledger.erased())
        return lines if erased >= self.at_least else [*lines, f"only {erased} users were erased"]

    def _erase_one(self, session: psycopg.Connection[object], way: Callable[[psycopg.Connection[object], UUID], bool]) -> None:
        user_id = self._victim()
        if user_id is None:
            return
        self.ledger.begun.add(user_id)
        try:
            done = way(session, user_id)
        except (UserFacingError, errors.DeadlockDetected):
            done = False
        except OperationalError as error:
            if not isinstance(error.__cause__, errors.DeadlockDetected):
                raise
            done = False
        if done:
            self.counts[way.__name__.removeprefix("_")] += 1
        else:
            self.not_done += 1
            if user_id not in self.others:
                self.victims.insert(0, user_id)

    def _victim(self) -> UUID | None:
        if self.others and self.random.random() < 0.15:
            return self.random.choice(self.others)
        if self.ledger.kept and self.random.random() < 0.15:
            return self.random.choice(
                list(self.ledger.kept)
            )  # anonymized by the guide's statement only, which does not clear the other tables
        return self.victims.pop() if self.victims else None

    def _anonymize(self, _session: psycopg.Connection[object], user_id: UUID) -> bool:
        anonymize(user_id)
        self.ledger.anonymized.add(user_id)
        return True

    def _erase(self, _session: psycopg.Connection[object], user_id: UUID) -> bool:
        erase(user_id)
        self.ledger.deleted.add(user_id)
        return True

    def _guide_anonymizes(self, session: psycopg.Connection[object], user_id: UUID) -> bool:
        """Record the remaining data in the transaction of the statement, because no data can be added after it.

        An UPDATE of the embedding does not wait for the statement. The statement waits for an UPDATE that began before.
        """
        with session.transaction():
            done = session.execute(GUIDE, [user_id]).rowcount == 1
            session.execute("SELECT FROM profile_embeddings WHERE user_id = %s FOR UPDATE", [user_id])
            found = left_over(session, [user_id])
            assert {column for table, _, column in found if table == "users"} <= {"last_login", "is_superuser"}
        if done:
            self.ledger.kept.setdefault(user_id, found)
        return done

    def _guide_deletes(self, session: psycopg.Connection[object], user_id: UUID) -> bool:
        done = session.execute("DELETE FROM users WHERE id = %s", [user_id]).rowcount == 1
        if done:
            self.ledger.deleted.add(user_id)
        return done

    def _orm_deletes(self, _session: psycopg.Connection[object], user_id: UUID) -> bool:
        done = bool(User.objects.filter(pk=user_id).delete()[1].get("accounts.User"))
        if done:
            self.ledger.deleted.add(user_id)
        return done
