"""The storm's writers repeat a write only after a deadlock that PostgreSQL has without triggers too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from tests.privacy.storm.ledger import Ledger
from tests.schema.rows import ANN
from tests.support.database import Database, database
from tests.vectorstore.queue.two_writers import first_writer, second_writer
from tests.vectorstore.storm.writers import ATTEMPTS, Writer


@pytest.fixture
def new_database(template: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    with django_db_blocker.unblock(), database(template.name) as new_database:
        yield new_database


def writer_of(new_database: Database) -> Writer:
    return Writer(new_database, 1, [ANN], threading.Event(), Ledger())


def test_writer__known_deadlock__repeats_the_write(new_database: Database) -> None:
    writer = writer_of(new_database)
    with new_database.connect() as session:
        session.execute(
            "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, 'a', '', 'A', '1990-02-28', 'other')",
            [ANN],
        )
        writer._new_vector(session)
    with first_writer(new_database) as first:
        first.execute("BEGIN")
        for interests in (["books"], ["chess"]):
            first.execute("UPDATE profile_embeddings SET interests = %s WHERE user_id = %s", [interests, ANN])
        with second_writer(new_database, lambda session: writer._repeat(session, writer._delete_user)) as errors:
            first.execute("COMMIT")
    assert errors == []
    assert 1 <= writer.deadlocks < ATTEMPTS
    assert new_database.query("SELECT count(*) FROM users") == [0]


def test_writer__any_other_deadlock__fails_the_storm(new_database: Database) -> None:
    writer = writer_of(new_database)
    attempts: list[None] = []

    def act(session: psycopg.Connection[Any]) -> None:
        attempts.append(None)
        session.execute("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")

    with new_database.connect() as session, pytest.raises(psycopg.errors.DeadlockDetected):
        writer._repeat(session, act)
    assert (len(attempts), writer.deadlocks) == (1, 0)


def test_writer__known_deadlock_again_and_again__fails_the_storm(new_database: Database) -> None:
    writer = writer_of(new_database)

    def act(session: psycopg.Connection[Any]) -> None:
        session.execute(
            """DO $$ BEGIN EXECUTE 'DO $d$ BEGIN RAISE SQLSTATE ''40P01''; END $d$ -- DELETE FROM ONLY "public"."profile_embeddings" WHERE'; END $$"""
        )

    with new_database.connect() as session, pytest.raises(psycopg.errors.DeadlockDetected):
        writer._repeat(session, act)
    assert writer.deadlocks == ATTEMPTS - 1


def test_writer__erased_user__is_refused(new_database: Database) -> None:
    writer = writer_of(new_database)
    with new_database.connect() as session:
        insert = "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, 'a', '', 'A', '1990-02-28', 'other')"
        session.execute(insert, [ANN])
        writer._repeat(session, writer._delete_user)
        writer._repeat(session, lambda session: session.execute(insert, [ANN]))
        assert (writer.refused, writer.ledger.deleted) == (1, {ANN})
        writer.ledger.begun.clear()
        with pytest.raises(psycopg.errors.CheckViolation):
            writer._repeat(session, lambda session: session.execute(insert, [ANN]))


def test_writer__any_other_rule__fails_the_storm(new_database: Database) -> None:
    writer = writer_of(new_database)
    writer.ledger.begun.add(ANN)
    with new_database.connect() as session, pytest.raises(psycopg.errors.CheckViolation, match="users_gender_check"):
        writer._repeat(
            session,
            lambda session: session.execute(
                "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, 'a', '', 'A', '1990-02-28', 'none')",
                [ANN],
            ),
        )
