"""Writers that know nothing of Qdrant: plain SQL, by a fixed seed.

A write that fails or waits fails the storm.

One error is retried, as a service does: the deadlock of a deletion with a transaction that changes an embedding twice. PostgreSQL has this deadlock
without triggers too (``tests/vectorstore/queue/test_capture_locks.py``). One error is expected: PostgreSQL refuses data of a user who was anonymized or
deleted for good.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from tests.privacy.storm.ledger import Ledger
from tests.support.database import Database

PAUSE_SECONDS = 0.004
ATTEMPTS = 3
"""Attempts of one write. Only a deadlock that PostgreSQL has without triggers too is retried."""
RETRY_SECONDS = 0.1
"""Pause before the next attempt.

Without it, the attempt can lock the user again before the other transaction does.
"""
DEADLOCKED = ('DELETE FROM ONLY "public"."profile_embeddings" WHERE', 'SELECT 1 FROM ONLY "public"."users" x WHERE')
"""Statements of foreign keys that such a deadlock ends.

They are the cascade of the deletion, and the check of the embedding's user.
"""
INTERESTS = ("books", "chess", "climbing", "cooking", "sailing")


class Writer(threading.Thread):
    """Adds, changes, soft-deletes, restores and deletes users: its own and those of the other writers."""

    def __init__(self, database: Database, seed: int, user_ids: list[UUID], over: threading.Event, ledger: Ledger) -> None:
        super().__init__()
        self.database, self.user_ids, self.over, self.ledger = database, user_ids, over, ledger
        self.random, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.writes = self.deadlocks = self.refused = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with self.database.connect() as session:
                # Another writer holds a row for milliseconds. A writer that waits for Qdrant, or for a worker, would exceed this limit.
                session.execute("SET statement_timeout = '100s'")
                while not self.over.wait(PAUSE_SECONDS):
                    self._write(session)
                    self.writes += 1
        except BaseException as error:  # noqa: BLE001  # the test that joins the thread checks it
            self.error = error

    def _write(self, session: psycopg.Connection[Any]) -> None:
        acts: list[tuple[Callable[[psycopg.Connection[Any]], None], int]] = [
            (self._add_user, 6), (self._new_vector, 6), (self._change_location, 4), (self._change_flags, 4),
            (self._soft_delete, 2), (self._restore, 2), (self._delete_user, 3), (self._delete_embedding, 1),
            (self._change_birth_date, 1), (self._change_many, 1),
        ]  # fmt: skip
        act = self.random.choices([one for one, _ in acts], [weight for _, weight in acts])[0]
        self._repeat(session, act)

    def _repeat(self, session: psycopg.Connection[Any], act: Callable[[psycopg.Connection[Any]], object]) -> None:
        """Run the write again, with the same random numbers, after a known deadlock."""
        chance, numbers = self.random.getstate(), self.numbers.bit_generator.state
        for attempt in range(1, ATTEMPTS + 1):
            self.random.setstate(chance)
            self.numbers.bit_generator.state = numbers
            try:
                act(session)
                break
            except psycopg.errors.DeadlockDetected as error:
                if attempt == ATTEMPTS or not any(statement in str(error.diag.context) for statement in DEADLOCKED):
                    raise
                self.deadlocks += 1
                time.sleep(RETRY_SECONDS)
            except psycopg.errors.CheckViolation as error:
                if not self.ledger.allows(error):
                    raise
                self.refused += 1
                break

    def _random_user(self) -> UUID:
        return self.random.choice(self.user_ids)

    def _add_user(self, session: psycopg.Connection[Any]) -> None:
        """Insert a new or an existing user. PostgreSQL refuses an erased user."""
        user_id = self._random_user() if self.random.random() < 0.3 else UUID(int=self.random.getrandbits(128), version=4)
        with session.transaction():
            session.execute(
                """
                INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender, verified)
                VALUES (%s, %s, '', 'Storm User', %s, %s, true) ON CONFLICT DO NOTHING
                """,
                [user_id, f"{user_id}@example.com", f"{self.random.randint(1950, 2000)}-03-01", self.random.choice(("female", "male"))],
            )
            self._store(session, user_id)
        self.user_ids.append(user_id)

    def _store(self, session: psycopg.Connection[Any], user_id: UUID) -> None:
        session.execute(
            """
            INSERT INTO profile_embeddings (user_id, vector, interests) SELECT id, %s, %s FROM users WHERE id = %s FOR KEY SHARE
            ON CONFLICT (user_id) DO UPDATE SET vector = EXCLUDED.vector, interests = EXCLUDED.interests
            """,
            [self._vector(), self.random.sample(INTERESTS, 2), user_id],
        )

    def _vector(self) -> list[float]:
        numbers: list[float] = self.numbers.standard_normal(512).astype(np.float32).tolist()
        return numbers

    def _new_vector(self, session: psycopg.Connection[Any]) -> None:
        self._store(session, self._random_user())

    def _change_location(self, session: psycopg.Connection[Any]) -> None:
        location = {"lat": round(self.random.uniform(-90, 90), 6), "lon": round(self.random.uniform(-180, 180), 6)}
        session.execute("UPDATE profile_embeddings SET location = %s WHERE user_id = %s", [json.dumps(location), self._random_user()])

    def _change_flags(self, session: psycopg.Connection[Any]) -> None:
        session.execute(
            "UPDATE users SET active = NOT active, verified = %s WHERE id = %s", [self.random.random() < 0.8, self._random_user()]
        )

    def _soft_delete(self, session: psycopg.Connection[Any]) -> None:
        session.execute("UPDATE users SET deleted_at = now() WHERE id = %s", [self._random_user()])

    def _restore(self, session: psycopg.Connection[Any]) -> None:
        session.execute("UPDATE users SET deleted_at = NULL WHERE id = %s", [self._random_user()])

    def _delete_user(self, session: psycopg.Connection[Any]) -> None:
        user_id = self._random_user()
        self.ledger.begun.add(user_id)
        if session.execute("DELETE FROM users WHERE id = %s", [user_id]).rowcount:
            self.ledger.deleted.add(user_id)

    def _delete_embedding(self, session: psycopg.Connection[Any]) -> None:
        session.execute("DELETE FROM profile_embeddings WHERE user_id = %s", [self._random_user()])

    def _change_birth_date(self, session: psycopg.Connection[Any]) -> None:
        session.execute("UPDATE users SET date_of_birth = date_of_birth - 400 WHERE id = %s", [self._random_user()])

    def _change_many(self, session: psycopg.Connection[Any]) -> None:
        """Change many users at once, some of them twice, or run TRUNCATE now and then.

        Ordered by id, like every lock of several rows.
        """
        if self.random.random() < 0.1:
            session.execute("TRUNCATE profile_embeddings")
            return
        with session.transaction():
            chosen = sorted(self.random.sample(self.user_ids, min(20, len(self.user_ids))))
            for user_id in chosen:
                session.execute(
                    "UPDATE profile_embeddings SET interests = %s WHERE user_id = %s", [[self.random.choice(INTERESTS)], user_id]
                )
