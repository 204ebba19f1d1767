"""The state after a failed migration and after a lost lock."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from findme.core.db.operations import SqlFile
from findme.core.errors import UserFacingError, without_detail
from findme.migrator.lock import migration_lock
from findme.migrator.migrate import apply_migrations, call_django_migrate, migrating
from findme.migrator.timeouts import MigrationTimeouts
from findme.migrator.undo.plan import plan_rollback
from findme.migrator.undo.rollback import roll_back
from tests.findme.migrator.catalog import catalog
from tests.findme.migrator.test_lock import HOLDER
from tests.support.database import Database, database, role
from tests.support.processes import ended
from tests.support.waiting import wait_until

SHORT_TIMEOUTS = MigrationTimeouts(wait_seconds=0, table_lock_seconds=0.05, attempts=2)


class Killed(BaseException):
    """Simulates the end of the process: no code catches it."""


def end_the_holder(database: Database) -> None:
    assert database.query(f"SELECT pg_terminate_backend(pid, 60000) FROM ({HOLDER}) AS held") == [True]


# --- An extension in another schema -----------------------------------------------------------------------------------------------


def test_migrate__pg_trgm_is_not_in_search_path__names_its_schema(empty: Database) -> None:
    empty.execute("CREATE SCHEMA extensions; CREATE EXTENSION pg_trgm SCHEMA extensions")
    with pytest.raises(UserFacingError) as refused:
        apply_migrations()
    assert str(refused.value).startswith('accounts.0001_initial was not applied: operator class "gin_trgm_ops" does not exist')
    assert str(refused.value).endswith(
        " The extension pg_trgm is in the schema extensions, and search_path is '\"$user\", public'."
        f' Run ALTER DATABASE {empty.name} SET search_path = "$user", public, extensions; Then run migrate again.'
    )
    empty.execute(f'ALTER DATABASE {empty.name} SET search_path = "$user", public, extensions')
    connection.close()
    assert apply_migrations().migrations[0] == "accounts.0001_initial"


# --- A table that is in use -------------------------------------------------------------------------------------------------------


@pytest.mark.at_length
def test_migrate__a_table_is_in_use_for_a_while__tries_again(before_videos: Database) -> None:
    said: list[str] = []
    with before_videos.connect() as user:

        def on_warning(line: str) -> None:
            said.append(line)
            user.execute("ROLLBACK")

        user.execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with migrating(timeouts=SHORT_TIMEOUTS, on_warning=on_warning) as run:
            call_django_migrate("default")
        pid = user.info.backend_pid
    assert run.done[0] == "videos.0001_initial"
    assert before_videos.has("videos")
    assert not connection.in_atomic_block
    assert len(said) == 1
    assert said[0].startswith(
        f"videos.0001_initial: canceling statement due to lock timeout (the oldest open transaction: process {pid}, '', for "
    )
    assert " s); attempt 2 of 2 in " in said[0]


def test_migrate__a_table_stays_in_use__is_not_done_and_leaves_nothing(before_videos: Database) -> None:
    before = catalog(before_videos)
    with before_videos.connect() as user:
        user.execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(UserFacingError) as refused:
            apply_migrations(timeouts=SHORT_TIMEOUTS)
        pid = user.info.backend_pid
    start, _, rest = str(refused.value).partition(", for ")
    assert start == (
        "videos.0001_initial was not applied: canceling statement due to lock timeout, 2 times"
        f" (the oldest open transaction: process {pid}, ''"
    )
    assert rest.partition(" s). ")[2] == (
        "It left nothing. Run migrate again later, or wait longer with --table-lock-seconds or --attempts."
    )
    assert catalog(before_videos) == before


@pytest.mark.at_length
@pytest.mark.parametrize("in_use", [False, True])
def test_migrate__settings_of_the_session__are_restored(before_videos: Database, in_use: bool) -> None:
    settings = "SELECT current_setting('lock_timeout'), current_setting('client_connection_check_interval')"
    with before_videos.connect() as user, connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '7s'")
        if in_use:
            user.execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(UserFacingError, match="lock timeout"):
                apply_migrations(timeouts=SHORT_TIMEOUTS)
        else:
            apply_migrations(timeouts=SHORT_TIMEOUTS)
        cursor.execute(settings)
        assert cursor.fetchone() == ("7s", "0")


# --- A migration that fails -------------------------------------------------------------------------------------------------------


@pytest.mark.at_length
def test_migrate__migration_fails__reports_reason_leftovers_and_earlier_migrations(empty: Database) -> None:
    empty.execute("CREATE TABLE users_groups ()")
    with pytest.raises(CommandError) as refused:
        call_command("migrate", verbosity=0)
    assert str(refused.value) == (
        'accounts.0001_initial was not applied: relation "users_groups" already exists. It left nothing.'
        " 16 earlier migrations stayed applied. Fix this, then run migrate again."
    )
    assert refused.value.returncode == 2
    assert empty.version() == 16
    assert not empty.has("users")
    empty.execute("DROP TABLE users_groups")
    assert apply_migrations().migrations[0] == "accounts.0001_initial"


@pytest.mark.parametrize(
    ("sql", "line", "why"),
    [
        ("SELECT 1;\n\n-- ř\nCREATE TABL x ();\n", ", line 4", 'syntax error at or near "TABL"'),
        ("SELECT 1;\nSELECT nothing;\n", ", line 2", 'column "nothing" does not exist'),
        ("CREATE TABLE users ();\n", "", 'relation "users" already exists'),
    ],
)
def test_migrate__a_file_of_sql_is_wrong__names_it_and_the_line(
    sql: str, line: str, why: str, before_videos: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "videos" / "migrations" / "sql" / "0001.up.sql", tmp_path / "down.sql"
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.write_text(sql)
    migration = type(MigrationLoader(None).graph.nodes["videos", "0001_initial"])
    monkeypatch.setattr(migration, "operations", [SqlFile(*files)])
    with pytest.raises(UserFacingError) as refused:
        apply_migrations()
    assert str(refused.value).startswith(
        f"videos.0001_initial was not applied: {why} (videos/migrations/sql/0001.up.sql{line}). It left nothing."
    )


def test_without_detail__sentence_of_libpq__has_no_full_stop() -> None:
    assert without_detail(OperationalError("server closed the connection.\n")) == "server closed the connection"


def test_without_detail__conflicting_row__is_not_quoted(migrated: Database) -> None:
    """PostgreSQL's DETAIL contains the e-mail address."""
    person = "INSERT INTO users (email, password_hash, full_name, date_of_birth, gender) VALUES ('ann@example.org', '', 'Ann', '1990-01-01', 'female')"
    migrated.execute(person)
    with connection.cursor() as cursor, pytest.raises(IntegrityError, match=r"ann@example\.org") as error:
        cursor.execute(person)
    assert without_detail(error.value) == 'duplicate key value violates unique constraint "users_email_key"'


def test_migrate__may_not_create_tables__is_not_done_in_one_line(migrated: Database) -> None:
    with role() as (user, password), database() as made:
        code, out, err = Database(made.name, user, password).manage("migrate", "--verbosity", "0")
    assert (code, out) == (2, "")
    assert (
        err == "The table django_migrations cannot be created: permission denied for schema public. Use the role that owns the database.\n"
    )


@pytest.mark.at_length
@pytest.mark.long
def test_migrate__owner_of_the_database_who_is_no_superuser__may_do_all(migrated: Database) -> None:
    with role() as (user, password), database(owner=user) as made:
        owned = Database(made.name, user, password)
        assert owned.manage("migrate", "--verbosity", "0") == (0, "", "")
        assert catalog(made) == catalog(migrated)
        code, _, err = owned.manage("rollback", "--all", "--no-input")
        assert (code, err) == (0, "")
        assert made.version() == 0


# --- A process that ends in the middle -----------------------------------------------------------------------------------------------


def killed_at(step: str, description: str) -> Callable[..., None]:
    original = getattr(MigrationRecorder, step)

    def recorded(self: MigrationRecorder, app: str, name: str) -> None:
        original(self, app, name)
        if f"{app}.{name}" == description:
            raise Killed

    return recorded


def test_migrate__killed_just_before_the_commit__has_neither_the_migration_nor_its_record(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django records such a migration, with foreign keys and indexes, in a second transaction."""
    with monkeypatch.context() as patch:
        patch.setattr(MigrationRecorder, "record_applied", killed_at("record_applied", "accounts.0001_initial"))
        with pytest.raises(Killed):
            apply_migrations()
    assert empty.version() == 16
    assert not empty.has("users")
    assert apply_migrations().migrations[0] == "accounts.0001_initial"


def test_rollback__killed_just_before_the_commit__has_both_the_migration_and_its_record(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = catalog(migrated)
    last = plan_rollback(1).migrations[0]
    with monkeypatch.context() as patch:
        patch.setattr(MigrationRecorder, "record_unapplied", killed_at("record_unapplied", last))
        with pytest.raises(Killed):
            roll_back(plan_rollback(3))
    assert catalog(migrated) == before
    assert roll_back(plan_rollback(3)).migrations[0] == last


@pytest.mark.at_length
@pytest.mark.long
def test_migrate__killed__lock_and_table_are_free_and_the_next_run_continues(before_videos: Database, template: Database) -> None:
    with before_videos.connect() as user:
        user.execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        process = before_videos.start("migrate", "--table-lock-seconds", "600")
        wait_until(before_videos.waits_for_a_lock)
        process.kill()
        assert ended(process)[0] == -signal.SIGKILL
        # The table is still in use, but the server has noticed that the process is gone and has ended its statement.
        wait_until(lambda: not before_videos.waits_for_a_lock())
        with migration_lock("migrate", seconds=60):
            pass
    assert before_videos.manage("migrate", "--verbosity", "0") == (0, "", "")
    assert catalog(before_videos) == catalog(template)


# --- A lock that is lost -------------------------------------------------------------------------------------------------------------


def test_migrate__the_lock_is_lost_between_two_migrations__does_not_begin_the_second(empty: Database) -> None:
    with migrating() as run:
        run.on_done = lambda _: end_the_holder(empty)
        with pytest.raises(UserFacingError) as refused:
            call_django_migrate("default")
    assert str(refused.value).startswith("The connection that held the migration lock was lost (")
    assert str(refused.value).endswith("): no further migration was started. Run it again. 1 earlier migration stayed applied.")
    assert run.done == ["migrator.0001_schema_version"]
    assert empty.version() == 1


def test_migrate__the_lock_is_lost_during_a_migration__undoes_it(empty: Database) -> None:
    def ends_the_holder(execute: Callable[..., Any], statement: str, *arguments: Any) -> Any:
        if statement.startswith('CREATE TABLE "auth_group"'):
            end_the_holder(empty)
        return execute(statement, *arguments)

    with (
        pytest.raises(UserFacingError, match=r"^The connection that held the migration lock was lost"),
        connection.execute_wrapper(ends_the_holder),
    ):
        apply_migrations()
    assert empty.version() == 4
    assert not empty.has("auth_group")


def test_migrate__connection_is_lost__reports_that_the_result_is_unknown(empty: Database) -> None:
    def ends_its_own(execute: Callable[..., Any], statement: str, *arguments: Any) -> Any:
        if statement.startswith('CREATE TABLE "auth_group"'):
            empty.query("SELECT pg_terminate_backend(%s, 60000)", connection.connection.info.backend_pid)
        return execute(statement, *arguments)

    with pytest.raises(UserFacingError) as refused, connection.execute_wrapper(ends_its_own):
        apply_migrations()
    assert str(refused.value) == (
        "auth.0001_initial was not applied: terminating connection due to administrator command."
        " It was applied completely or not at all: schema_version shows which. 4 earlier migrations stayed applied."
        " Fix this, then run migrate again."
    )
