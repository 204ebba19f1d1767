"""The capture triggers add no deadlock.

Two writers deadlock only if they would deadlock without the triggers too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from tests.schema.rows import ANN, BOB, CEM, ONE_WAY
from tests.support.database import Database, database
from tests.vectorstore.queue.two_writers import first_writer, second_writer

Write = Callable[[psycopg.Connection[Any]], object]

INSERT_USER = """
    INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, %s, '', 'Anna', '1990-02-28', 'other')
    ON CONFLICT DO NOTHING
"""
DISABLED = "ALTER TABLE users DISABLE TRIGGER USER; ALTER TABLE profile_embeddings DISABLE TRIGGER USER"
with_and_without_triggers = pytest.mark.parametrize("setup", ["", DISABLED], ids=["triggers", "no-triggers"])


@pytest.fixture
def new_database(template: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """A database with one user, Ann, and her embedding."""
    with django_db_blocker.unblock(), database(template.name) as new_database:
        with new_database.connect() as session:
            session.execute(INSERT_USER, [ANN, "ann@example.com"])
            session.execute("INSERT INTO profile_embeddings (user_id, vector) VALUES (%s, %s)", [ANN, ONE_WAY])
            session.execute("DELETE FROM vector_sync_queue")
        yield new_database


def insert_user(user_id: UUID, email: str) -> Write:
    return lambda session: session.execute(INSERT_USER, [user_id, email])


def delete_ann(session: psycopg.Connection[Any]) -> None:
    session.execute("DELETE FROM users WHERE id = %s", [ANN])


@with_and_without_triggers
def test_insert_user__other_transaction_truncated_embeddings__no_deadlock(new_database: Database, setup: str) -> None:
    new_database.execute(setup)
    with first_writer(new_database) as first:
        first.execute("BEGIN; TRUNCATE profile_embeddings")
        with second_writer(new_database, insert_user(BOB, "bob@example.com")) as errors:
            first.execute(INSERT_USER, [CEM, "bob@example.com"])
            first.execute("COMMIT")
    assert errors == []
    assert set(new_database.query("SELECT id FROM users")) == {ANN, BOB}


def test_insert_user__embeddings_are_locked__does_not_wait_and_queues_every_user(new_database: Database) -> None:
    with first_writer(new_database) as first, new_database.connect() as second:
        first.execute("BEGIN; LOCK TABLE profile_embeddings IN ACCESS EXCLUSIVE MODE")
        second.execute("SET statement_timeout = '100s'")
        for _ in range(2):  # the second one inserts no row
            second.execute(INSERT_USER, [BOB, "bob@example.com"])
            assert new_database.query("SELECT user_id FROM vector_sync_queue") == [BOB]
        first.execute("COMMIT")
        second.execute(INSERT_USER, [CEM, "cem@example.com"])
        assert new_database.query("SELECT user_id FROM vector_sync_queue") == [BOB]


@with_and_without_triggers
def test_two_updates_of_an_embedding_and_a_deletion__deadlock_in_postgresql_itself(new_database: Database, setup: str) -> None:
    """PostgreSQL checks the foreign key of a row that one transaction changed twice.

    So the commit locks the user after the embedding.
    """
    new_database.execute(setup)
    with first_writer(new_database) as first:
        first.execute("BEGIN")
        for interests in (["books"], ["chess"]):
            first.execute("UPDATE profile_embeddings SET interests = %s WHERE user_id = %s", [interests, ANN])
        with second_writer(new_database, delete_ann) as errors:
            first.execute("COMMIT")
    assert [type(error) for error in errors] == [psycopg.errors.DeadlockDetected]
    assert 'DELETE FROM ONLY "public"."profile_embeddings"' in str(errors[0].diag.context)
    assert new_database.query("SELECT interests FROM profile_embeddings") == [["chess"]]


@with_and_without_triggers
def test_one_update_of_an_embedding_and_a_deletion__no_deadlock(new_database: Database, setup: str) -> None:
    new_database.execute(setup)
    with first_writer(new_database) as first:
        first.execute("BEGIN")
        first.execute("UPDATE profile_embeddings SET interests = %s WHERE user_id = %s", [["books"], ANN])
        with second_writer(new_database, delete_ann) as errors:
            first.execute("COMMIT")
    assert errors == []
    assert new_database.query("SELECT count(*) FROM profile_embeddings") == [0]
