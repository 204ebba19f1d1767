"""The storm's writers repeat a write only after the deadlock that PostgreSQL has without triggers too."""

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
from tests.vectorstore.storm.writers import ATTEMPTS, Writer
from tests.vectorstore.two_writers import first_writer, second_writer


@pytest.fixture
def made(template: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    with django_db_blocker.unblock(), database(template.name) as made:
        yield made


def writer_of(made: Database) -> Writer:
    return Writer(made, 1, [ANN], threading.Event(), Ledger())


def test_writer__known_deadlock__repeats_the_write(made: Database) -> None:
    writer = writer_of(made)
    with made.connect() as session:
        session.execute(
            "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, 'a', '', 'A', '1990-02-28', 'other')",
            [ANN],
        )
        writer._new_vector(session)
    with first_writer(made) as first:
        first.execute("BEGIN")
        for interests in (["books"], ["chess"]):
            first.execute("UPDATE profile_embeddings SET interests = %s WHERE user_id = %s", [interests, ANN])
        with second_writer(made, lambda session: writer._repeat(session, writer._go)) as errors:
            first.execute("COMMIT")
    assert errors == []
    assert 1 <= writer.deadlocks < ATTEMPTS
    assert made.query("SELECT count(*) FROM users") == [0]


def test_writer__any_other_deadlock__fails_the_storm(made: Database) -> None:
    writer = writer_of(made)
    tried: list[None] = []

    def act(session: psycopg.Connection[Any]) -> None:
        tried.append(None)
        session.execute("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")

    with made.connect() as session, pytest.raises(psycopg.errors.DeadlockDetected):
        writer._repeat(session, act)
    assert (len(tried), writer.deadlocks) == (1, 0)


def test_writer__known_deadlock_again_and_again__fails_the_storm(made: Database) -> None:
    writer = writer_of(made)

    def act(session: psycopg.Connection[Any]) -> None:
        session.execute(
            """DO $$ BEGIN EXECUTE 'DO $d$ BEGIN RAISE SQLSTATE ''40P01''; END $d$ -- DELETE FROM ONLY "public"."profile_embeddings" WHERE'; END $$"""
        )

    with made.connect() as session, pytest.raises(psycopg.errors.DeadlockDetected):
        writer._repeat(session, act)
    assert writer.deadlocks == ATTEMPTS - 1


def test_writer__erased_user__is_refused(made: Database) -> None:
    writer = writer_of(made)
    with made.connect() as session:
        insert = "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, 'a', '', 'A', '1990-02-28', 'other')"
        session.execute(insert, [ANN])
        writer._repeat(session, writer._go)
        writer._repeat(session, lambda session: session.execute(insert, [ANN]))
        assert (writer.refused, writer.ledger.deleted) == (1, {ANN})
        writer.ledger.begun.clear()
        with pytest.raises(psycopg.errors.CheckViolation):
            writer._repeat(session, lambda session: session.execute(insert, [ANN]))


def test_writer__any_other_rule__fails_the_storm(made: Database) -> None:
    writer = writer_of(made)
    writer.ledger.begun.add(ANN)
    with made.connect() as session, pytest.raises(psycopg.errors.CheckViolation, match="users_gender_check"):
        writer._repeat(
            session,
            lambda session: session.execute(
                "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, 'a', '', 'A', '1990-02-28', 'none')",
                [ANN],
            ),
        )
