"""Whoever writes, and however: everybody whose point may have to change is on the queue, in the transaction that changes them. Rules 1 and 12."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from accounts.models import User
from findme.migrator.trigger_repair import mend_triggers
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from tests.schema.rows import ANN, BOB, CEM, ONE_WAY, UNUSED_ID, ask, connect, insert, settle
from tests.support.waiting import wait_until
from tests.threads import in_thread
from vectorstore.models import ProfileEmbedding

OTHER_WAY = [0.0, 1.0] + [0.0] * 510
LOUD, QUIET = True, False
"""Entries that overtake the others, and those that do not."""
WAITS_AT_MOST = "SET lock_timeout = '5s'; SET statement_timeout = '20s'"


def queued() -> list[tuple[UUID | None, bool]]:
    """Whom the queue names, in the order of the entries, and whether urgently; afterwards it is empty."""
    entries = ask("SELECT user_id, urgent FROM vector_sync_queue ORDER BY id")
    ask("DELETE FROM vector_sync_queue")
    return [(user_id, urgent) for user_id, urgent in entries]


def make_people() -> None:
    """Ann and Bob have an embedding, Cem has none; nobody is queued."""
    for key in (ANN, BOB, CEM):
        insert("users", id=key, gender="female")
    for key in (ANN, BOB):
        insert("profile_embeddings", user_id=key)
    settle()
    queued()


@pytest.fixture
def people(db: None) -> None:
    make_people()


@pytest.fixture
def committed_people(transactional_db: None) -> None:
    make_people()


# --- What is queued, and what is not ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "urgent"),
    [
        ("gender = 'male'", QUIET),
        ("date_of_birth = '1980-01-01'", QUIET),
        ("created_at = '2020-01-01'", QUIET),
        ("active = false", LOUD),
        ("verified = true", LOUD),
        ("is_staff = true", LOUD),
        ("deleted_at = now()", LOUD),
        ("gender = 'male', deleted_at = now()", LOUD),
    ],
)
def test_update_of_a_person__who_changes_is_queued_and_nobody_else(people: None, change: str, urgent: bool) -> None:
    ask(f"UPDATE users SET {change} WHERE id = %s", ANN)
    assert queued() == [(ANN, urgent)]


@pytest.mark.parametrize(
    "change",
    [
        "email = 'new@example.com'",
        "full_name = 'New', bio = 'Tea', password_hash = 'x'",
        "updated_at = now(), last_login = now(), is_superuser = true",
        "gender = gender, active = active, verified = verified, deleted_at = NULL",
    ],
)
def test_update_of_a_person__that_no_point_shows__queues_nobody(people: None, change: str) -> None:
    ask(f"UPDATE users SET {change} WHERE id = %s", ANN)
    assert queued() == []


def test_update_of_a_person__deleted_and_back__twice_urgent_and_the_time_alone_is_nothing(people: None) -> None:
    ask("UPDATE users SET deleted_at = '2026-01-01' WHERE id = %s", ANN)
    ask("UPDATE users SET deleted_at = '2026-01-02' WHERE id = %s", ANN)
    assert queued() == [(ANN, LOUD)]
    ask("UPDATE users SET deleted_at = NULL WHERE id = %s", ANN)
    assert queued() == [(ANN, LOUD)]


def test_update_of_people__of_many_only_those_who_change(people: None) -> None:
    ask("UPDATE users SET gender = 'male' WHERE id = %s", BOB)
    queued()
    ask("UPDATE users SET gender = 'female'")
    assert queued() == [(BOB, QUIET)]
    ask("UPDATE users SET active = false WHERE false")
    assert queued() == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("vector", OTHER_WAY),
        ("vector", [1.0, 1e-30, *OTHER_WAY[2:]]),
        ("location", '{"lat": 1, "lon": 2}'),
        ("interests", ["books"]),
        ("video_features", [0.5]),
        ("video_features", []),
    ],
)
def test_update_of_an_embedding__forth_and_back__is_queued(people: None, column: str, value: Any) -> None:
    before = ask(f"SELECT {column}::text FROM profile_embeddings WHERE user_id = %s", ANN)[0][0]
    ask(f"UPDATE profile_embeddings SET {column} = %s WHERE user_id = %s", value, ANN)
    assert queued() == [(ANN, QUIET)]
    ask(f"UPDATE profile_embeddings SET {column} = %s WHERE user_id = %s", before, ANN)
    assert queued() == [(ANN, QUIET)]


@pytest.mark.parametrize(
    "change", ["model = 'new'", "updated_at = now(), created_at = now()", "vector = vector", "location = NULL, video_features = NULL"]
)
def test_update_of_an_embedding__that_no_point_shows__queues_nobody(people: None, change: str) -> None:
    ask(f"UPDATE profile_embeddings SET {change}")
    assert queued() == []


def test_update__nan_where_the_table_would_let_it_in__is_a_change_once(people: None) -> None:
    ask("ALTER TABLE profile_embeddings DROP CONSTRAINT profile_embeddings_video_features_check")
    ask("UPDATE profile_embeddings SET video_features = '{NaN}' WHERE user_id = %s", ANN)
    assert queued() == [(ANN, QUIET)]
    ask("UPDATE profile_embeddings SET video_features = '{NaN}' WHERE user_id = %s", ANN)
    assert queued() == []


def test_update__of_a_key__queues_who_was_and_who_is(people: None) -> None:
    ask("UPDATE profile_embeddings SET user_id = %s WHERE user_id = %s", CEM, ANN)
    assert set(queued()) == {(ANN, LOUD), (CEM, LOUD)}
    ask("UPDATE users SET id = %s WHERE id = %s", UNUSED_ID, ANN)
    assert set(queued()) == {(ANN, LOUD), (UNUSED_ID, LOUD)}


def test_update__keys_change_places__both_are_queued(people: None) -> None:
    ask("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", OTHER_WAY, BOB)
    queued()
    settle()
    ask("ALTER TABLE profile_embeddings DROP CONSTRAINT profile_embeddings_pkey")
    ask("UPDATE profile_embeddings SET user_id = CASE user_id WHEN %s THEN %s::uuid ELSE %s END", ANN, BOB, ANN)
    assert set(queued()) == {(ANN, QUIET), (BOB, QUIET)}


def test_insert__of_a_person_without_embedding_queues_nobody__and_their_embedding_does(people: None) -> None:
    insert("users", id=UNUSED_ID)
    assert queued() == []
    insert("profile_embeddings", user_id=UNUSED_ID)
    assert queued() == [(UNUSED_ID, QUIET)]


def test_insert__the_embedding_before_its_person__is_queued(people: None) -> None:
    """The foreign key is looked at in the end."""
    insert("profile_embeddings", user_id=UNUSED_ID)
    insert("users", id=UNUSED_ID)
    settle()
    assert (UNUSED_ID, QUIET) in queued()


@pytest.mark.parametrize("table", ["users", "profile_embeddings"])
def test_delete__is_urgent(people: None, table: str) -> None:
    ask(f"DELETE FROM {table} WHERE {'id' if table == 'users' else 'user_id'} = %s", ANN)
    assert set(queued()) == {(ANN, LOUD)}
    ask(f"DELETE FROM {table} WHERE false")
    assert queued() == []


def test_delete__of_many_people__the_cascade_is_one_statement(people: None) -> None:
    """Each trigger runs once however many are deleted: the cascades of one statement are taken together."""
    ask("CREATE TEMP TABLE runs (rows bigint)")
    ask("""
        CREATE FUNCTION pg_temp.count_run() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN INSERT INTO pg_temp.runs SELECT count(*) FROM old_rows; RETURN NULL; END'
    """)
    ask("""
        CREATE TRIGGER counted AFTER DELETE ON profile_embeddings REFERENCING OLD TABLE AS old_rows
        FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.count_run()
    """)
    ask("DELETE FROM users")
    assert ask("SELECT rows FROM runs") == [(2,)]
    assert sorted(queued(), key=str) == [*[(ANN, LOUD)] * 2, *[(BOB, LOUD)] * 2, (CEM, LOUD)]


@pytest.mark.parametrize(("table", "entries"), [("users", 2), ("profile_embeddings", 1)])
def test_truncate__queues_one_entry_a_table_without_a_person(people: None, table: str, entries: int) -> None:
    settle()
    ask(f"TRUNCATE {table} CASCADE")
    assert queued() == [(None, LOUD)] * entries


# --- However it is written --------------------------------------------------------------------------------------------------------

UPSERT = "INSERT INTO profile_embeddings (user_id, vector) SELECT unnest(%s::uuid[]), %s::real[] ON CONFLICT (user_id) DO "


def test_upsert__new_ones_and_changed_ones__are_queued_and_unchanged_ones_are_not(people: None) -> None:
    ask("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", OTHER_WAY, BOB)
    queued()
    ask(f"{UPSERT} UPDATE SET vector = excluded.vector", [ANN, BOB, CEM], ONE_WAY)
    assert set(queued()) == {(BOB, QUIET), (CEM, QUIET)}


def test_upsert__do_nothing__queues_only_who_is_new(people: None) -> None:
    ask(f"{UPSERT} NOTHING", [ANN, BOB, CEM], OTHER_WAY)
    assert queued() == [(CEM, QUIET)]


def test_merge__each_of_its_actions(people: None) -> None:
    if int(ask("SHOW server_version_num")[0][0]) < 150000:
        pytest.skip("PostgreSQL has MERGE since version 15")
    ask(
        """
        MERGE INTO profile_embeddings e USING users u ON u.id = e.user_id
        WHEN MATCHED AND u.id = %s THEN DELETE
        WHEN MATCHED THEN UPDATE SET interests = '{tea}'
        WHEN NOT MATCHED THEN INSERT (user_id, vector) VALUES (u.id, %s::real[])
        """,
        ANN,
        ONE_WAY,
    )
    assert set(queued()) == {(ANN, LOUD), (BOB, QUIET), (CEM, QUIET)}


def test_copy__everybody_in_it(people: None) -> None:
    with connection.cursor() as cursor, cursor.copy("COPY profile_embeddings (user_id, vector) FROM STDIN") as copy:
        copy.write(f"{CEM}\t{{{','.join(map(str, ONE_WAY))}}}\n")
    assert queued() == [(CEM, QUIET)]


def test_statement_in_a_statement__each_of_its_parts(people: None) -> None:
    ask(
        """
        WITH gone AS (DELETE FROM profile_embeddings WHERE user_id = %s RETURNING user_id)
        UPDATE users SET gender = 'other' WHERE id = %s
        """,
        ANN,
        BOB,
    )
    assert set(queued()) == {(ANN, LOUD), (BOB, QUIET)}


@pytest.mark.django_db
def test_orm__save_bulk_create_update_bulk_update_and_delete() -> None:
    person, other = UserFactory.create_batch(2)
    assert queued() == []
    ProfileEmbeddingFactory.create(user=person)
    assert queued() == [(person.pk, QUIET)]
    ProfileEmbedding.objects.bulk_create([ProfileEmbeddingFactory.build(user=other)])
    assert queued() == [(other.pk, QUIET)]
    User.objects.update(active=False)
    assert set(queued()) == {(person.pk, LOUD), (other.pk, LOUD)}
    for embedding in (embeddings := list(ProfileEmbedding.objects.all())):
        embedding.vector = unit_vector(77)
    ProfileEmbedding.objects.bulk_update(embeddings, ["vector"])
    assert set(queued()) == {(person.pk, QUIET), (other.pk, QUIET)}
    person.refresh_from_db()
    person.full_name = "New"
    person.save()
    assert queued() == []
    gone = other.pk
    other.delete()
    assert set(queued()) == {(gone, LOUD)}


def test_savepoint__what_is_rolled_back_is_not_queued_and_what_is_kept_is(people: None) -> None:
    with transaction.atomic():
        ask("UPDATE users SET active = false WHERE id = %s", ANN)
        with transaction.atomic():
            ask("UPDATE users SET active = false WHERE id = %s", BOB)
            transaction.set_rollback(True)
    assert queued() == [(ANN, LOUD)]


def test_replica__rows_that_a_tool_copies_are_queued_in_whatever_order(people: None) -> None:
    ask("SET LOCAL session_replication_role = replica")
    insert("profile_embeddings", user_id=UNUSED_ID)
    assert queued() == [(UNUSED_ID, QUIET)]
    insert("users", id=UNUSED_ID)
    assert queued() == [(UNUSED_ID, QUIET)]
    later = uuid4()
    insert("users", id=later, email="later@example.com")  # whose embedding another session may have inserted and not committed
    assert queued() == [(later, QUIET)]
    ask("UPDATE users SET active = false WHERE id = %s", ANN)
    ask("DELETE FROM profile_embeddings WHERE user_id = %s", BOB)
    assert queued() == [(ANN, LOUD), (BOB, LOUD)]
    ask("SET LOCAL session_replication_role = origin")
    settle()
    ask("SET LOCAL session_replication_role = replica")
    ask("TRUNCATE profile_embeddings")
    assert queued() == [(None, LOUD)]


# --- Whoever writes ---------------------------------------------------------------------------------------------------------------


@contextmanager
def as_a_stranger(tables: str = "users, profile_embeddings") -> Iterator[None]:
    """As a role that may write TABLES, make schemas, and nothing else."""
    ask("CREATE ROLE findme_test_stranger")
    ask(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {tables} TO findme_test_stranger")
    ask("DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMP ON DATABASE %I TO findme_test_stranger', current_database()); END $$")
    ask("SET LOCAL ROLE findme_test_stranger")
    yield
    ask("RESET ROLE")


def write_everything() -> None:
    ask(
        "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, 'n', '', 'N', '1990-01-01', 'male')",
        UNUSED_ID,
    )
    ask("INSERT INTO profile_embeddings (user_id, vector) VALUES (%s, %s::real[])", UNUSED_ID, ONE_WAY)
    ask("UPDATE users SET active = false WHERE id = %s", ANN)
    ask("UPDATE profile_embeddings SET interests = '{tea}' WHERE user_id = %s", ANN)
    ask("DELETE FROM profile_embeddings WHERE user_id = %s", BOB)
    ask("DELETE FROM users WHERE id = %s", CEM)


EVERYTHING = [(UNUSED_ID, QUIET), (ANN, LOUD), (ANN, QUIET), (BOB, LOUD), (CEM, LOUD)]


def refused(statement: str) -> str:
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        ask(statement)
    return str(caught.value).splitlines()[0]


def test_role__without_rights_on_the_queue__writes_and_is_captured(people: None) -> None:
    with as_a_stranger():
        write_everything()
        settle()
        ask("TRUNCATE profile_embeddings")
        assert refused("INSERT INTO vector_sync_queue DEFAULT VALUES") == "permission denied for table vector_sync_queue"
    assert queued() == [*EVERYTHING, (None, LOUD)]


def test_role__with_rights_on_people_only__is_captured_with_its_cascades(people: None) -> None:
    with as_a_stranger("users"):
        ask("UPDATE users SET is_staff = true WHERE id = %s", ANN)
        ask("DELETE FROM users WHERE id = %s", BOB)
        assert refused("DELETE FROM profile_embeddings") == "permission denied for table profile_embeddings"
    assert queued() == [(ANN, LOUD), (BOB, LOUD), (BOB, LOUD)]


def test_role__has_no_use_for_the_functions_on_a_table_of_its_own(people: None) -> None:
    with as_a_stranger():
        ask("CREATE TEMP TABLE mine (id uuid)")
        said = refused(
            "CREATE TRIGGER t AFTER DELETE ON mine REFERENCING OLD TABLE AS old_rows"
            " FOR EACH STATEMENT EXECUTE FUNCTION public.vector_sync_users_deleted()"
        )
    assert said == "permission denied for function public.vector_sync_users_deleted"


def test_search_path__tables_and_functions_of_the_same_names__are_passed_over(people: None) -> None:
    with as_a_stranger():
        ask("CREATE SCHEMA trap")
        for schema in ("trap", "pg_temp"):
            ask(f"CREATE TABLE {schema}.vector_sync_queue (user_id uuid, urgent boolean)")
            ask(f"CREATE TABLE {schema}.vector_sync_workers (sleeping_until timestamptz)")
            ask(f"CREATE FUNCTION {schema}.vector_sync_notify() RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END'")
        ask("CREATE FUNCTION trap.equal(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END'")
        ask("CREATE OPERATOR trap.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = trap.equal)")
        ask("SET LOCAL search_path = trap, public")
        write_everything()
        assert ask("TABLE pg_temp.vector_sync_queue UNION ALL TABLE trap.vector_sync_queue") == []
        ask("SET LOCAL search_path = public")
        ask("DROP TABLE pg_temp.vector_sync_queue")
    assert queued() == EVERYTHING


OPERANDS = (
    "varchar, varchar",
    "uuid, uuid",
    "boolean, boolean",
    "jsonb, jsonb",
    "text[], text[]",
    "real[], real[]",
    "date, date",
    "double precision, numeric",
)


def test_operators_of_another_role__in_the_schema_of_the_tables__are_passed_over(people: None) -> None:
    """PostgreSQL prefers an operator of exactly the operands' types: it has none of its own for varchar."""
    sleeping_worker()
    ask("CREATE TABLE trapped (by name)")
    with as_a_stranger():
        ask("RESET ROLE")
        ask("GRANT CREATE ON SCHEMA public TO findme_test_stranger; GRANT INSERT ON trapped TO findme_test_stranger")
        ask("SET LOCAL ROLE findme_test_stranger")
        for number, operands in enumerate(OPERANDS):
            left, right = operands.split(", ")
            ask(
                f"CREATE FUNCTION public.trap{number}({operands}) RETURNS boolean LANGUAGE plpgsql"
                f" AS 'BEGIN INSERT INTO public.trapped VALUES (current_user); RETURN false; END'"
            )
            for operator in ("=", "<"):
                ask(f"CREATE OPERATOR public.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.trap{number})")
        write_everything()
    mend_after("ALTER FUNCTION vector_sync_notify() RESET search_path; ALTER FUNCTION vector_sync_users_updated() RESET search_path")
    ask("UPDATE users SET gender = 'other', verified = true WHERE id = %s", UNUSED_ID)
    owner = ask("SELECT current_user")
    assert set(ask("TABLE trapped")) & set(owner) == set()
    assert queued() == [*EVERYTHING, (UNUSED_ID, LOUD)]


def mend_after(statement: str) -> None:
    settle()
    ask(statement)
    assert len(mend_triggers("verify_qdrant --repair")) == 2


def test_wake__is_executable_by_its_owner_only(people: None) -> None:
    with as_a_stranger():
        assert refused("SELECT public.vector_sync_notify()") == "permission denied for function vector_sync_notify"


# --- Nobody waits -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def writer(committed_people: None) -> Iterator[psycopg.Connection[Any]]:
    """Another connection, whose statements fail rather than wait for long."""
    with connect() as session:
        session.autocommit = True
        session.execute(WAITS_AT_MOST)
        yield session


def sleeping_worker(seconds: int = 3600) -> None:
    """A worker has said that it sleeps for so long."""
    ask(
        "INSERT INTO vector_sync_workers (id, host, pid, sleeping_until) VALUES (%s, '', 1, clock_timestamp() + %s * interval '1 second')",
        UNUSED_ID,
        seconds,
    )


def test_writers__do_not_wait_for_one_another_nor_for_a_worker(writer: psycopg.Connection[Any]) -> None:
    """The worker holds every entry and every lease; the other writer's transaction is open, and both have woken the worker."""
    sleeping_worker()
    ask("UPDATE users SET gender = 'other'")
    with connect() as worker, connect() as other:
        other.execute("UPDATE users SET active = false WHERE id = %s", [BOB])
        worker.execute("INSERT INTO vector_sync_leases (user_id, worker_id, expires_at) SELECT id, id, now() FROM users")
        assert len(worker.execute("SELECT FROM vector_sync_queue FOR UPDATE").fetchall()) == 3
        worker.execute("UPDATE vector_sync_workers SET heartbeat_at = now()")
        writer.execute("UPDATE users SET active = false WHERE id = %s", [ANN])
        writer.execute("UPDATE profile_embeddings SET interests = '{tea}'")
        writer.execute("DELETE FROM users WHERE id = %s", [CEM])
        writer.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):  # one person's row is what two cannot write at once
            writer.execute("UPDATE users SET active = true WHERE id = %s", [BOB])
    assert set(queued()) >= {(ANN, LOUD), (ANN, QUIET), (BOB, QUIET), (CEM, LOUD)}


def test_update__that_waited_for_another__is_compared_with_what_that_one_wrote(writer: psycopg.Connection[Any]) -> None:
    """What it sets is what it saw when it began, and no longer what the row says."""
    with connect() as other:
        other.execute("UPDATE users SET gender = 'male' WHERE id = %s", [ANN])
        waiting = in_thread(lambda: ask("UPDATE users SET gender = 'female' WHERE id = %s", ANN))
        wait_until(lambda: writer.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'").fetchone())
        other.commit()
        waiting.join()
    assert queued() == [(ANN, QUIET), (ANN, QUIET)]
    assert ask("SELECT gender FROM users WHERE id = %s", ANN) == [("female",)]


def notifications_of(writer: psycopg.Connection[Any], statement: str) -> list[tuple[str, str]]:
    """What a listener hears of STATEMENT."""
    with connect() as listener:
        listener.autocommit = True
        listener.execute("LISTEN vector_sync")
        listener.execute("LISTEN the_end")
        writer.execute(statement.encode())
        writer.execute("NOTIFY the_end")
        heard: list[tuple[str, str]] = []
        for notification in listener.notifies(timeout=30):
            if notification.channel == "the_end":
                return heard
            heard.append((notification.channel, notification.payload))
    raise AssertionError("the end was not heard")


@pytest.mark.parametrize(("seconds", "heard"), [(3600, [("vector_sync", "")]), (-1, []), (None, [])])
def test_notify__only_while_a_worker_sleeps(writer: psycopg.Connection[Any], seconds: int | None, heard: list[tuple[str, str]]) -> None:
    if seconds is not None:
        sleeping_worker(seconds)
    for statement in (
        f"INSERT INTO profile_embeddings (user_id, vector) SELECT '{CEM}', vector FROM profile_embeddings WHERE user_id = '{ANN}'",
        "UPDATE users SET active = false",
        "UPDATE profile_embeddings SET interests = '{tea}'",
        f"DELETE FROM profile_embeddings WHERE user_id = '{ANN}'",
        f"DELETE FROM users WHERE id = '{ANN}'",
        "TRUNCATE profile_embeddings",
    ):
        assert notifications_of(writer, statement) == heard, statement


def test_notify__not_of_what_queues_nobody_nor_of_what_is_rolled_back(writer: psycopg.Connection[Any]) -> None:
    sleeping_worker()
    assert notifications_of(writer, "UPDATE users SET bio = 'Tea'") == []
    assert notifications_of(writer, "BEGIN; UPDATE users SET active = false; ROLLBACK") == []


def test_notify__by_one_writer_at_a_time__since_two_would_wait_for_one_another_in_their_commits(writer: psycopg.Connection[Any]) -> None:
    sleeping_worker()
    with connect() as other:
        other.execute("UPDATE users SET active = false WHERE id = %s", [BOB])
        assert notifications_of(writer, f"UPDATE users SET active = false WHERE id = '{ANN}'") == []
        other.commit()
    assert notifications_of(writer, f"UPDATE users SET active = true WHERE id = '{ANN}'") == [("vector_sync", "")]
    assert queued() == [(BOB, LOUD), (ANN, LOUD), (ANN, LOUD)]


LISTENER = """
import sys, time, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as session:
    session.execute("LISTEN vector_sync")
    print(session.info.backend_pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def deaf_listener(transactional_db: None) -> Iterator[int]:
    """A process that listens, frozen; its server process, which cannot send it any more."""
    with connect() as session:
        address = psycopg.conninfo.make_conninfo(session.info.dsn, password=session.info.password or None)
    process = subprocess.Popen([sys.executable, "-c", LISTENER, address], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        backend = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGSTOP)
        ask("SELECT pg_notify('vector_sync', repeat('x', 7900) || n) FROM generate_series(1, 4000) n")
        wait_until(lambda: ask("SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'ClientWrite'", backend))
        yield backend
    finally:
        process.kill()
        process.communicate()


def test_listener__frozen__disturbs_no_writer(deaf_listener: int, writer: psycopg.Connection[Any]) -> None:
    sleeping_worker()
    for n in range(50):
        writer.execute("UPDATE users SET gender = %s", ["male" if n % 2 else "other"])
    assert ask("SELECT count(*) FROM vector_sync_queue") == [(150,)]
    assert ask("SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'ClientWrite'", deaf_listener)
