"""Capture of changes by triggers (protocol rules 1 and 12).

Every user whose point may have to change is queued in the same transaction. This holds for every writer and every kind of statement.
"""

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
from findme.migrator.trigger_repair import repair_triggers
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from tests.schema.rows import ANN, BOB, CEM, ONE_WAY, UNUSED_ID, ask, connect, insert, settle
from tests.support.threads import in_thread
from tests.support.waiting import wait_until
from vectorstore.models import ProfileEmbedding

OTHER_VECTOR = [0.0, 1.0] + [0.0] * 510
URGENT, NORMAL = True, False
"""Whether an entry overtakes the others."""
TIMEOUTS = "SET lock_timeout = '60s'; SET statement_timeout = '100s'"
WAITS_FOR_A_ROW = """
    SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database() AND NOT granted AND locktype = 'transactionid'
"""


def queued() -> list[tuple[UUID | None, bool]]:
    """Return the user of each entry in order, and whether it is urgent. Then empty the queue."""
    entries = ask("SELECT user_id, urgent FROM vector_sync_queue ORDER BY id")
    ask("DELETE FROM vector_sync_queue")
    return [(user_id, urgent) for user_id, urgent in entries]


def make_users() -> None:
    """Insert Ann and Bob with an embedding and Cem without one. The queue is empty."""
    for key in (ANN, BOB, CEM):
        insert("users", id=key, gender="female")
    for key in (ANN, BOB):
        insert("profile_embeddings", user_id=key)
    settle()
    queued()


@pytest.fixture
def users(db: None) -> None:
    make_users()


@pytest.fixture
def committed_users(transactional_db: None) -> None:
    make_users()


# --- Queued changes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "urgent"),
    [
        ("gender = 'male'", NORMAL),
        ("date_of_birth = '1980-01-01'", NORMAL),
        ("created_at = '2020-01-01'", NORMAL),
        ("active = false", URGENT),
        ("verified = true", URGENT),
        ("is_staff = true", URGENT),
        ("deleted_at = now()", URGENT),
        ("gender = 'male', deleted_at = now()", URGENT),
    ],
)
def test_update_user__queues_only_the_changed_user(users: None, change: str, urgent: bool) -> None:
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
def test_update_user__column_that_no_point_shows__queues_no_user(users: None, change: str) -> None:
    ask(f"UPDATE users SET {change} WHERE id = %s", ANN)
    assert queued() == []


def test_update_user__soft_deleted_and_restored__is_urgent_both_times(users: None) -> None:
    ask("UPDATE users SET deleted_at = '2026-01-01' WHERE id = %s", ANN)
    ask("UPDATE users SET deleted_at = '2026-01-02' WHERE id = %s", ANN)
    assert queued() == [(ANN, URGENT)]
    ask("UPDATE users SET deleted_at = NULL WHERE id = %s", ANN)
    assert queued() == [(ANN, URGENT)]


def test_update_users__queues_only_users_with_a_changed_row(users: None) -> None:
    ask("UPDATE users SET gender = 'male' WHERE id = %s", BOB)
    queued()
    ask("UPDATE users SET gender = 'female'")
    assert queued() == [(BOB, NORMAL)]
    ask("UPDATE users SET active = false WHERE false")
    assert queued() == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("vector", OTHER_VECTOR),
        ("vector", [1.0, 1e-30, *OTHER_VECTOR[2:]]),
        ("location", '{"lat": 1, "lon": 2}'),
        ("interests", ["books"]),
        ("video_features", [0.5]),
        ("video_features", []),
    ],
)
def test_update_embedding__changed_and_changed_back__is_queued_both_times(users: None, column: str, value: Any) -> None:
    before = ask(f"SELECT {column}::text FROM profile_embeddings WHERE user_id = %s", ANN)[0][0]
    ask(f"UPDATE profile_embeddings SET {column} = %s WHERE user_id = %s", value, ANN)
    assert queued() == [(ANN, NORMAL)]
    ask(f"UPDATE profile_embeddings SET {column} = %s WHERE user_id = %s", before, ANN)
    assert queued() == [(ANN, NORMAL)]


@pytest.mark.parametrize(
    "change", ["model = 'new'", "updated_at = now(), created_at = now()", "vector = vector", "location = NULL, video_features = NULL"]
)
def test_update_embedding__column_that_no_point_shows__queues_no_user(users: None, change: str) -> None:
    ask(f"UPDATE profile_embeddings SET {change}")
    assert queued() == []


def test_update_embedding__nan_without_the_constraint__is_a_change_once(users: None) -> None:
    ask("ALTER TABLE profile_embeddings DROP CONSTRAINT profile_embeddings_video_features_check")
    ask("UPDATE profile_embeddings SET video_features = '{NaN}' WHERE user_id = %s", ANN)
    assert queued() == [(ANN, NORMAL)]
    ask("UPDATE profile_embeddings SET video_features = '{NaN}' WHERE user_id = %s", ANN)
    assert queued() == []


def test_update__changed_key__queues_the_old_and_the_new_id(users: None) -> None:
    ask("UPDATE profile_embeddings SET user_id = %s WHERE user_id = %s", CEM, ANN)
    assert set(queued()) == {(ANN, URGENT), (CEM, URGENT)}
    settle()
    ask("ALTER TABLE users DISABLE TRIGGER users_id_kept")
    ask("UPDATE users SET id = %s WHERE id = %s", UNUSED_ID, ANN)
    assert set(queued()) == {(ANN, URGENT), (UNUSED_ID, URGENT)}


def test_update__exchanged_keys__queues_both_users(users: None) -> None:
    ask("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", OTHER_VECTOR, BOB)
    queued()
    settle()
    ask("ALTER TABLE profile_embeddings DROP CONSTRAINT profile_embeddings_pkey")
    ask("UPDATE profile_embeddings SET user_id = CASE user_id WHEN %s THEN %s::uuid ELSE %s END", ANN, BOB, ANN)
    assert set(queued()) == {(ANN, NORMAL), (BOB, NORMAL)}


def test_insert__user_without_embedding__is_queued_with_the_embedding(users: None) -> None:
    insert("users", id=UNUSED_ID)
    assert queued() == []
    insert("profile_embeddings", user_id=UNUSED_ID)
    assert queued() == [(UNUSED_ID, NORMAL)]


def test_insert__embedding_before_its_user__is_queued(users: None) -> None:
    """The foreign key is checked at the end of the transaction."""
    insert("profile_embeddings", user_id=UNUSED_ID)
    insert("users", id=UNUSED_ID)
    settle()
    assert (UNUSED_ID, NORMAL) in queued()


@pytest.mark.parametrize("table", ["users", "profile_embeddings"])
def test_delete__queues_urgent_entries(users: None, table: str) -> None:
    ask(f"DELETE FROM {table} WHERE {'id' if table == 'users' else 'user_id'} = %s", ANN)
    assert set(queued()) == {(ANN, URGENT)}
    ask(f"DELETE FROM {table} WHERE false")
    assert queued() == []


def test_delete__many_users__cascade_runs_each_trigger_once(users: None) -> None:
    """Each trigger runs once for any number of deleted users.

    PostgreSQL runs the cascades of one statement together.
    """
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
    assert sorted(queued(), key=str) == [*[(ANN, URGENT)] * 2, *[(BOB, URGENT)] * 2, (CEM, URGENT)]


@pytest.mark.parametrize(("table", "entries"), [("users", 2), ("profile_embeddings", 1)])
def test_truncate__queues_one_entry_per_table_without_a_user(users: None, table: str, entries: int) -> None:
    settle()
    ask(f"TRUNCATE {table} CASCADE")
    assert queued() == [(None, URGENT)] * entries


# --- Kinds of statements ----------------------------------------------------------------------------------------------------------

UPSERT = "INSERT INTO profile_embeddings (user_id, vector) SELECT unnest(%s::uuid[]), %s::real[] ON CONFLICT (user_id) DO "


def test_upsert__do_update__queues_new_and_changed_users_only(users: None) -> None:
    ask("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", OTHER_VECTOR, BOB)
    queued()
    ask(f"{UPSERT} UPDATE SET vector = excluded.vector", [ANN, BOB, CEM], ONE_WAY)
    assert set(queued()) == {(BOB, NORMAL), (CEM, NORMAL)}


def test_upsert__do_nothing__queues_new_users_only(users: None) -> None:
    ask(f"{UPSERT} NOTHING", [ANN, BOB, CEM], OTHER_VECTOR)
    assert queued() == [(CEM, NORMAL)]


def test_merge__queues_the_users_of_each_action(users: None) -> None:
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
    assert set(queued()) == {(ANN, URGENT), (BOB, NORMAL), (CEM, NORMAL)}


def test_copy__queues_every_row(users: None) -> None:
    with connection.cursor() as cursor, cursor.copy("COPY profile_embeddings (user_id, vector) FROM STDIN") as copy:
        copy.write(f"{CEM}\t{{{','.join(map(str, ONE_WAY))}}}\n")
    assert queued() == [(CEM, NORMAL)]


def test_nested_statement__queues_the_users_of_each_part(users: None) -> None:
    ask(
        """
        WITH gone AS (DELETE FROM profile_embeddings WHERE user_id = %s RETURNING user_id)
        UPDATE users SET gender = 'other' WHERE id = %s
        """,
        ANN,
        BOB,
    )
    assert set(queued()) == {(ANN, URGENT), (BOB, NORMAL)}


@pytest.mark.django_db
def test_orm__every_write__queues_the_changed_users() -> None:
    user, other = UserFactory.create_batch(2)
    assert queued() == []
    ProfileEmbeddingFactory.create(user=user)
    assert queued() == [(user.pk, NORMAL)]
    ProfileEmbedding.objects.bulk_create([ProfileEmbeddingFactory.build(user=other)])
    assert queued() == [(other.pk, NORMAL)]
    User.objects.update(active=False)
    assert set(queued()) == {(user.pk, URGENT), (other.pk, URGENT)}
    for embedding in (embeddings := list(ProfileEmbedding.objects.all())):
        embedding.vector = unit_vector(77)
    ProfileEmbedding.objects.bulk_update(embeddings, ["vector"])
    assert set(queued()) == {(user.pk, NORMAL), (other.pk, NORMAL)}
    user.refresh_from_db()
    user.full_name = "New"
    user.save()
    assert queued() == []
    gone = other.pk
    other.delete()
    assert set(queued()) == {(gone, URGENT)}


def test_savepoint__rolled_back__only_released_changes_are_queued(users: None) -> None:
    with transaction.atomic():
        ask("UPDATE users SET active = false WHERE id = %s", ANN)
        with transaction.atomic():
            ask("UPDATE users SET active = false WHERE id = %s", BOB)
            transaction.set_rollback(True)
    assert queued() == [(ANN, URGENT)]


def test_replica_role__copied_rows__are_queued_in_any_order(users: None) -> None:
    ask("SET LOCAL session_replication_role = replica")
    insert("profile_embeddings", user_id=UNUSED_ID)
    assert queued() == [(UNUSED_ID, NORMAL)]
    insert("users", id=UNUSED_ID)
    assert queued() == [(UNUSED_ID, NORMAL)]
    later = uuid4()
    insert("users", id=later, email="later@example.com")  # another session may have inserted the embedding and not committed
    assert queued() == [(later, NORMAL)]
    ask("UPDATE users SET active = false WHERE id = %s", ANN)
    ask("DELETE FROM profile_embeddings WHERE user_id = %s", BOB)
    assert queued() == [(ANN, URGENT), (BOB, URGENT)]
    ask("SET LOCAL session_replication_role = origin")
    settle()
    ask("SET LOCAL session_replication_role = replica")
    ask("TRUNCATE profile_embeddings")
    assert queued() == [(None, URGENT)]


# --- Roles ------------------------------------------------------------------------------------------------------------------------


@contextmanager
def as_other_role(tables: str = "users, profile_embeddings") -> Iterator[None]:
    """Run the block as a role that may only write ``tables`` and create schemas and temporary tables."""
    ask("CREATE ROLE findme_test_other")
    ask(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {tables} TO findme_test_other")
    ask("DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMP ON DATABASE %I TO findme_test_other', current_database()); END $$")
    ask("SET LOCAL ROLE findme_test_other")
    yield
    ask("RESET ROLE")


def write_all_tables() -> None:
    ask(
        "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, 'n', '', 'N', '1990-01-01', 'male')",
        UNUSED_ID,
    )
    ask("INSERT INTO profile_embeddings (user_id, vector) VALUES (%s, %s::real[])", UNUSED_ID, ONE_WAY)
    ask("UPDATE users SET active = false WHERE id = %s", ANN)
    ask("UPDATE profile_embeddings SET interests = '{tea}' WHERE user_id = %s", ANN)
    ask("DELETE FROM profile_embeddings WHERE user_id = %s", BOB)
    ask("DELETE FROM users WHERE id = %s", CEM)


ALL_ENTRIES = [(UNUSED_ID, NORMAL), (ANN, URGENT), (ANN, NORMAL), (BOB, URGENT), (CEM, URGENT)]


def refused(statement: str) -> str:
    with pytest.raises(DatabaseError) as raised, transaction.atomic():
        ask(statement)
    return str(raised.value).splitlines()[0]


def test_role__without_rights_on_the_queue__writes_and_is_captured(users: None) -> None:
    with as_other_role():
        write_all_tables()
        settle()
        ask("TRUNCATE profile_embeddings")
        assert refused("INSERT INTO vector_sync_queue DEFAULT VALUES") == "permission denied for table vector_sync_queue"
    assert queued() == [*ALL_ENTRIES, (None, URGENT)]


def test_role__with_rights_on_users_only__is_captured_with_its_cascades(users: None) -> None:
    with as_other_role("users"):
        ask("UPDATE users SET is_staff = true WHERE id = %s", ANN)
        ask("DELETE FROM users WHERE id = %s", BOB)
        assert refused("DELETE FROM profile_embeddings") == "permission denied for table profile_embeddings"
    assert queued() == [(ANN, URGENT), (BOB, URGENT), (BOB, URGENT)]


def test_role__own_table__cannot_use_the_trigger_functions(users: None) -> None:
    with as_other_role():
        ask("CREATE TEMP TABLE own_table (id uuid)")
        message = refused(
            "CREATE TRIGGER t AFTER DELETE ON own_table REFERENCING OLD TABLE AS old_rows"
            " FOR EACH STATEMENT EXECUTE FUNCTION public.vector_sync_users_deleted()"
        )
    assert message == "permission denied for function public.vector_sync_users_deleted"


def test_search_path__tables_and_functions_of_the_same_names__are_not_used(users: None) -> None:
    with as_other_role():
        ask("CREATE SCHEMA trap")
        for schema in ("trap", "pg_temp"):
            ask(f"CREATE TABLE {schema}.vector_sync_queue (user_id uuid, urgent boolean)")
            ask(f"CREATE TABLE {schema}.vector_sync_workers (sleeping_until timestamptz)")
            ask(f"CREATE FUNCTION {schema}.vector_sync_notify() RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END'")
        ask("CREATE FUNCTION trap.equal(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END'")
        ask("CREATE OPERATOR trap.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = trap.equal)")
        ask("SET LOCAL search_path = trap, public")
        write_all_tables()
        assert ask("TABLE pg_temp.vector_sync_queue UNION ALL TABLE trap.vector_sync_queue") == []
        ask("SET LOCAL search_path = public")
        ask("DROP TABLE pg_temp.vector_sync_queue")
    assert queued() == ALL_ENTRIES


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


def test_operators_of_another_role__in_the_schema_of_the_tables__are_not_used(users: None) -> None:
    """PostgreSQL prefers an operator with exactly the types of the operands.

    It has no built-in one for varchar.
    """
    sleeping_worker()
    ask("CREATE TABLE trapped (by name)")
    with as_other_role():
        ask("RESET ROLE")
        ask("GRANT CREATE ON SCHEMA public TO findme_test_other; GRANT INSERT ON trapped TO findme_test_other")
        ask("SET LOCAL ROLE findme_test_other")
        for number, operands in enumerate(OPERANDS):
            left_type, right_type = operands.split(", ")
            ask(
                f"CREATE FUNCTION public.trap{number}({operands}) RETURNS boolean LANGUAGE plpgsql"
                f" AS 'BEGIN INSERT INTO public.trapped VALUES (current_user); RETURN false; END'"
            )
            for operator in ("=", "<"):
                ask(f"CREATE OPERATOR public.{operator} (LEFTARG = {left_type}, RIGHTARG = {right_type}, FUNCTION = public.trap{number})")
        write_all_tables()
    repair_after("ALTER FUNCTION vector_sync_notify() RESET search_path; ALTER FUNCTION vector_sync_users_updated() RESET search_path")
    ask("UPDATE users SET gender = 'other', verified = true WHERE id = %s", UNUSED_ID)
    owner = ask("SELECT current_user")
    assert set(ask("TABLE trapped")) & set(owner) == set()
    assert queued() == [*ALL_ENTRIES, (UNUSED_ID, URGENT)]


def repair_after(statement: str) -> None:
    settle()
    ask(statement)
    assert len(repair_triggers("verify_qdrant --repair")) == 2


def test_sync_notify__is_executable_by_its_owner_only(users: None) -> None:
    with as_other_role():
        assert refused("SELECT public.vector_sync_notify()") == "permission denied for function vector_sync_notify"


# --- Locks and notifications ------------------------------------------------------------------------------------------------------


@pytest.fixture
def writer(committed_users: None) -> Iterator[psycopg.Connection[Any]]:
    """Another connection. Its statements fail if they wait for long."""
    with connect() as session:
        session.autocommit = True
        session.execute(TIMEOUTS)
        yield session


def sleeping_worker(seconds: int = 3600) -> None:
    """Register a worker that sleeps for ``seconds``."""
    ask(
        "INSERT INTO vector_sync_workers (id, host, pid, sleeping_until) VALUES (%s, '', 1, clock_timestamp() + %s * interval '1 second')",
        UNUSED_ID,
        seconds,
    )


def test_writers__do_not_wait_for_each_other_or_for_a_worker(writer: psycopg.Connection[Any]) -> None:
    """The worker has locked every entry and every lease, and the other writer's transaction is open.

    Both writers notify the worker.
    """
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
        with pytest.raises(psycopg.errors.LockNotAvailable):  # two writers cannot change one user's row at the same time
            writer.execute("UPDATE users SET active = true WHERE id = %s", [BOB])
    assert set(queued()) >= {(ANN, URGENT), (ANN, NORMAL), (BOB, NORMAL), (CEM, URGENT)}


def test_update__waited_for_another_update__is_compared_with_its_result(writer: psycopg.Connection[Any]) -> None:
    """The update sets the value that the row had when it began, but the row has changed since."""
    with connect() as other:
        other.execute("UPDATE users SET gender = 'male' WHERE id = %s", [ANN])
        waiting = in_thread(lambda: ask("UPDATE users SET gender = 'female' WHERE id = %s", ANN))
        wait_until(lambda: writer.execute(WAITS_FOR_A_ROW).fetchone())
        other.commit()
        waiting.result()
    assert queued() == [(ANN, NORMAL), (ANN, NORMAL)]
    assert ask("SELECT gender FROM users WHERE id = %s", ANN) == [("female",)]


def notifications_of(writer: psycopg.Connection[Any], statement: str) -> list[tuple[str, str]]:
    """Return the notifications that ``statement`` sends."""
    with connect() as listener:
        listener.autocommit = True
        listener.execute("LISTEN vector_sync")
        listener.execute("LISTEN the_end")
        writer.execute(statement.encode())
        writer.execute("NOTIFY the_end")
        notifications: list[tuple[str, str]] = []
        for notification in listener.notifies(timeout=30):
            if notification.channel == "the_end":
                return notifications
            notifications.append((notification.channel, notification.payload))
    raise AssertionError("the last notification did not arrive")


@pytest.mark.parametrize(("seconds", "notifications"), [(3600, [("vector_sync", "")]), (-1, []), (None, [])])
def test_notify__only_while_a_worker_sleeps(
    writer: psycopg.Connection[Any], seconds: int | None, notifications: list[tuple[str, str]]
) -> None:
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
        assert notifications_of(writer, statement) == notifications, statement


def test_notify__no_entry_or_rolled_back__sends_nothing(writer: psycopg.Connection[Any]) -> None:
    sleeping_worker()
    assert notifications_of(writer, "UPDATE users SET bio = 'Tea'") == []
    assert notifications_of(writer, "BEGIN; UPDATE users SET active = false; ROLLBACK") == []


def test_notify__another_writer_has_notified__sends_nothing(writer: psycopg.Connection[Any]) -> None:
    sleeping_worker()
    with connect() as other:
        other.execute("UPDATE users SET active = false WHERE id = %s", [BOB])
        assert notifications_of(writer, f"UPDATE users SET active = false WHERE id = '{ANN}'") == []
        other.commit()
    assert notifications_of(writer, f"UPDATE users SET active = true WHERE id = '{ANN}'") == [("vector_sync", "")]
    assert queued() == [(BOB, URGENT), (ANN, URGENT), (ANN, URGENT)]


LISTENER = """
import sys, time, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as session:
    session.execute("LISTEN vector_sync")
    print(session.info.backend_pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def frozen_listener(transactional_db: None) -> Iterator[int]:
    """Start a listening process and freeze it.

    Yield the pid of its PostgreSQL backend, which cannot send to it anymore.
    """
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


def test_listener__frozen__blocks_no_writer(frozen_listener: int, writer: psycopg.Connection[Any]) -> None:
    sleeping_worker()
    for n in range(50):
        writer.execute("UPDATE users SET gender = %s", ["male" if n % 2 else "other"])
    assert ask("SELECT count(*) FROM vector_sync_queue") == [(150,)]
    assert ask("SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'ClientWrite'", frozen_listener)
