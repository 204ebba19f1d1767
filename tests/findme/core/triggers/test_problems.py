"""Lost triggers: ``schema_version --check`` names them, and the SQL of the migrations repairs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from pytest_django import DjangoDbBlocker

from findme.core.errors import UserFacingError
from findme.core.triggers.definitions import read_triggers
from findme.core.triggers.problems import trigger_problems
from findme.migrator.lock import migration_lock
from findme.migrator.migrate import apply_migrations
from findme.migrator.timeouts import MigrationTimeouts
from findme.migrator.trigger_repair import repair_triggers
from findme.migrator.undo.plan import plan_rollback
from findme.migrator.undo.rollback import roll_back
from findme.migrator.version import schema_version
from tests.findme.migrator.catalog import NOT_OF_AN_EXTENSION, catalog
from tests.findme.migrator.undoing import PERSON, up_to
from tests.support.database import Database, database, role, use_database

BREAKS = {
    "ALTER TABLE users DISABLE TRIGGER vector_sync_deleted": ["trigger vector_sync_deleted on users: disabled"],
    "ALTER TABLE profile_embeddings ENABLE TRIGGER vector_sync_updated": [
        "trigger vector_sync_updated on profile_embeddings: enabled, but not ALWAYS"
    ],
    "ALTER TABLE users ENABLE REPLICA TRIGGER vector_sync_inserted": [
        "trigger vector_sync_inserted on users: enabled for session_replication_role = replica only"
    ],
    "DROP TRIGGER vector_sync_truncated ON users": ["trigger vector_sync_truncated on users: missing"],
    "ALTER TABLE videos DISABLE TRIGGER update_videos_updated_at": ["trigger update_videos_updated_at on videos: disabled"],
    "DROP FUNCTION vector_sync_users_deleted CASCADE": [
        "function vector_sync_users_deleted(): missing",
        "trigger vector_sync_deleted on users: missing",
    ],
    "CREATE OR REPLACE TRIGGER vector_sync_deleted AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION vector_sync_users_deleted()": [
        "trigger vector_sync_deleted on users: not as vectorstore.0002_capture created it"
    ],
    "CREATE OR REPLACE TRIGGER update_users_updated_at BEFORE UPDATE ON users FOR EACH ROW WHEN (new.active) EXECUTE FUNCTION update_updated_at_column()": [
        "trigger update_users_updated_at on users: not as accounts.0001_initial created it"
    ],
    "CREATE OR REPLACE TRIGGER vector_sync_truncated AFTER TRUNCATE ON users FOR EACH STATEMENT EXECUTE FUNCTION update_updated_at_column()": [
        "trigger vector_sync_truncated on users: not as vectorstore.0002_capture created it"
    ],
    "CREATE OR REPLACE FUNCTION vector_sync_truncated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
    " SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END'": [
        "function vector_sync_truncated(): not as vectorstore.0002_capture created it"
    ],
    "ALTER FUNCTION vector_sync_users_updated() SET search_path = public, pg_temp": [
        "function vector_sync_users_updated(): its search_path is public, pg_temp and should be pg_catalog, pg_temp"
    ],
    "ALTER FUNCTION vector_sync_notify() RESET search_path": [
        "function vector_sync_notify(): its search_path is not set and should be pg_catalog, pg_temp"
    ],
    "ALTER FUNCTION vector_sync_embeddings_inserted() SECURITY INVOKER": [
        "function vector_sync_embeddings_inserted(): it is not SECURITY DEFINER"
    ],
    "ALTER FUNCTION update_updated_at_column() SECURITY DEFINER": ["function update_updated_at_column(): it is SECURITY DEFINER"],
    "GRANT EXECUTE ON FUNCTION vector_sync_notify() TO PUBLIC": ["function vector_sync_notify(): any role may execute it"],
    "ALTER TABLE video_calls DISABLE TRIGGER video_calls_users_of_match_check": [
        "trigger video_calls_users_of_match_check on video_calls: disabled"
    ],
    "ALTER TABLE video_calls ENABLE REPLICA TRIGGER video_calls_users_of_match_check": [
        "trigger video_calls_users_of_match_check on video_calls: enabled for session_replication_role = replica only"
    ],
    "DROP TRIGGER video_calls_users_of_match_check ON video_calls": ["trigger video_calls_users_of_match_check on video_calls: missing"],
    "DROP FUNCTION require_users_of_match CASCADE": [
        "function require_users_of_match(): missing",
        "trigger video_calls_users_of_match_check on video_calls: missing",
    ],
    "DROP TRIGGER video_calls_users_of_match_check ON video_calls; CREATE CONSTRAINT TRIGGER video_calls_users_of_match_check"
    " AFTER INSERT OR UPDATE ON video_calls FOR EACH ROW EXECUTE FUNCTION require_users_of_match()": [
        "trigger video_calls_users_of_match_check on video_calls: not as calls.0001_initial created it"
    ],
    "DROP TRIGGER video_calls_users_of_match_check ON video_calls; CREATE TRIGGER video_calls_users_of_match_check"
    " AFTER INSERT OR UPDATE ON video_calls FOR EACH ROW EXECUTE FUNCTION require_users_of_match()": [
        "trigger video_calls_users_of_match_check on video_calls: not as calls.0001_initial created it"
    ],
    "DROP TRIGGER matches_users_check ON matches; CREATE CONSTRAINT TRIGGER matches_users_check"
    " AFTER UPDATE ON matches FOR EACH ROW EXECUTE FUNCTION refuse_other_users_of_match()": [
        "trigger matches_users_check on matches: not as matching.0001_initial created it"
    ],
    "ALTER TABLE video_calls DISABLE TRIGGER ALL; ALTER TABLE video_calls ENABLE TRIGGER ALL": [
        "trigger erased_users_inserted on video_calls: enabled, but not ALWAYS",
        "trigger erased_users_updated on video_calls: enabled, but not ALWAYS",
        "trigger holds_deleted on video_calls: enabled, but not ALWAYS",
        "trigger holds_truncated on video_calls: enabled, but not ALWAYS",
    ],
    "ALTER TABLE users DISABLE TRIGGER ALL": [
        "trigger update_users_updated_at on users: disabled",
        "trigger erased_users_inserted on users: disabled",
        "trigger erased_users_updated on users: disabled",
        "trigger note_erased_users_inserted on users: disabled",
        "trigger note_erased_users_updated on users: disabled",
        "trigger note_erased_users_deleted on users: disabled",
        "trigger note_privacy_action_deleted on users: disabled",
        "trigger note_privacy_action_truncated on users: disabled",
        "trigger note_privacy_action_anonymized on users: disabled",
        "trigger note_privacy_action_hidden on users: disabled",
        "trigger holds_deleted on users: disabled",
        "trigger holds_truncated on users: disabled",
        "trigger note_privacy_action_restricted on users: disabled",
        "trigger note_privacy_action_objected on users: disabled",
        "trigger note_privacy_action_while_restricted on users: disabled",
        "trigger erased_users_reduced on users: disabled",
        "trigger users_id_kept on users: disabled",
        "trigger vector_sync_inserted on users: disabled",
        "trigger vector_sync_updated on users: disabled",
        "trigger vector_sync_deleted on users: disabled",
        "trigger vector_sync_truncated on users: disabled",
        "foreign keys of users: not enforced, and only a superuser can repair it",
    ],
    "ALTER TABLE matches DISABLE TRIGGER ALL; ALTER TABLE matches ENABLE TRIGGER USER": [
        "trigger erased_users_inserted on matches: enabled, but not ALWAYS",
        "trigger erased_users_updated on matches: enabled, but not ALWAYS",
        "trigger holds_deleted on matches: enabled, but not ALWAYS",
        "trigger holds_truncated on matches: enabled, but not ALWAYS",
        "foreign keys of matches: not enforced, and only a superuser can repair it",
    ],
    "ALTER TABLE users DISABLE TRIGGER ALL; ALTER TABLE users ENABLE TRIGGER ALL": [
        "trigger erased_users_inserted on users: enabled, but not ALWAYS",
        "trigger erased_users_updated on users: enabled, but not ALWAYS",
        "trigger note_erased_users_inserted on users: enabled, but not ALWAYS",
        "trigger note_erased_users_updated on users: enabled, but not ALWAYS",
        "trigger note_erased_users_deleted on users: enabled, but not ALWAYS",
        "trigger note_privacy_action_deleted on users: enabled, but not ALWAYS",
        "trigger note_privacy_action_truncated on users: enabled, but not ALWAYS",
        "trigger note_privacy_action_anonymized on users: enabled, but not ALWAYS",
        "trigger note_privacy_action_hidden on users: enabled, but not ALWAYS",
        "trigger holds_deleted on users: enabled, but not ALWAYS",
        "trigger holds_truncated on users: enabled, but not ALWAYS",
        "trigger note_privacy_action_restricted on users: enabled, but not ALWAYS",
        "trigger note_privacy_action_objected on users: enabled, but not ALWAYS",
        "trigger note_privacy_action_while_restricted on users: enabled, but not ALWAYS",
        "trigger erased_users_reduced on users: enabled, but not ALWAYS",
        "trigger users_id_kept on users: enabled, but not ALWAYS",
        "trigger vector_sync_inserted on users: enabled, but not ALWAYS",
        "trigger vector_sync_updated on users: enabled, but not ALWAYS",
        "trigger vector_sync_deleted on users: enabled, but not ALWAYS",
        "trigger vector_sync_truncated on users: enabled, but not ALWAYS",
    ],
}


def problems() -> list[str]:
    return [str(problem) for problem in trigger_problems()]


# --- Problems ---------------------------------------------------------------------------------------------------------------------


def test_migrated__has_no_problem_and_no_unknown_trigger_or_function(migrated: Database) -> None:
    """Every migration that creates a trigger is listed in ``trigger_files`` of its app."""
    assert problems() == []
    read = [
        read_triggers(Path(config.path) / "migrations" / "sql" / f"{name}.up.sql", migration)
        for config in apps.get_app_configs()
        for migration, name in getattr(config, "trigger_files", ())
    ]
    triggers = {(trigger.table, trigger.name) for file in read for trigger in file.triggers}
    functions = {function.name for file in read for function in file.functions}
    with migrated.connect() as session:
        assert triggers == set(
            session.execute(
                "SELECT c.relname::text, tgname::text FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE NOT tgisinternal"
            )
        )
    mine = NOT_OF_AN_EXTENSION.format(oid="p.oid")
    assert functions == set(migrated.query(f"SELECT proname::text FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND {mine}"))


def test_migrated__quote_all_identifiers__has_no_problem(migrated: Database) -> None:
    migrated.execute(f"ALTER DATABASE {migrated.name} SET quote_all_identifiers = on")
    migrated.execute("ALTER FUNCTION vector_sync_notify() SET search_path = pg_catalog, pg_temp")  # as a restore there would
    assert migrated.query("SELECT proconfig FROM pg_proc WHERE proname = 'vector_sync_notify'") == [['search_path="pg_catalog", "pg_temp"']]
    connection.close()
    assert problems() == []


def test_trigger_files__run_again__change_nothing(migrated: Database) -> None:
    before = catalog(migrated)
    for config in apps.get_app_configs():
        for _migration, name in getattr(config, "trigger_files", ()):
            if name not in {"0001_updated_at", "0001_profile_embeddings"}:  # the statements of the guide cannot run twice
                migrated.execute((Path(config.path) / "migrations" / "sql" / f"{name}.up.sql").read_text())
    assert catalog(migrated) == before


def test_problems__migrations_not_applied__expect_no_trigger_of_theirs(empty: Database) -> None:
    assert problems() == []
    apply_migrations(steps=len(plan_of_everything_before("vectorstore.0002_capture")))
    assert problems() == []
    empty.execute("DROP TRIGGER update_users_updated_at ON users")
    assert problems() == ["trigger update_users_updated_at on users: missing"]


def plan_of_everything_before(migration: str) -> list[str]:
    unapplied = list(schema_version().unapplied)
    return unapplied[: unapplied.index(migration)]


@pytest.mark.at_length(every=3)
@pytest.mark.parametrize("statement", BREAKS)
def test_broken__is_named_by_the_check_and_repaired_as_the_migrations_created_it(
    migrated: Database, capsys: pytest.CaptureFixture[str], statement: str
) -> None:
    before, expected = catalog(migrated), BREAKS[statement]
    migrated.execute(statement)
    with pytest.raises(SystemExit) as found:
        call_command("schema_version", check=True)
    assert found.value.code == 1
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")] == [
        f"problem: {line}" for line in expected
    ]
    assert [str(problem) for problem in repair_triggers("verify_qdrant --repair")] == expected
    assert problems() == []
    assert catalog(migrated) == before
    assert migrated.query("SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgisinternal AND tgenabled <> 'O'") == []


def test_repair__nothing_wrong__takes_no_lock(migrated: Database) -> None:
    with migration_lock("migrate"):
        assert repair_triggers("verify_qdrant --repair", timeouts=MigrationTimeouts(0, 0.1, 1)) == ()


# --- Failed repairs ---------------------------------------------------------------------------------------------------------------


def test_repair__table_in_use__is_tried_again_and_then_refused_in_one_line(migrated: Database) -> None:
    migrated.execute("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted")
    said: list[str] = []
    with migrated.connect() as writer:
        writer.execute("BEGIN")
        writer.execute(PERSON.encode())
        with pytest.raises(UserFacingError) as refused:
            repair_triggers("verify_qdrant --repair", timeouts=MigrationTimeouts(5, 0.1, 2), on_warning=said.append)
        assert str(refused.value).startswith(
            "The triggers were not repaired: canceling statement due to lock timeout; nothing was changed. Run manage.py verify_qdrant --repair"
            " again later (the oldest open transaction: process "
        )
        assert len(said) == 1
        writer.execute("COMMIT")
    assert problems() == ["trigger vector_sync_deleted on users: disabled"]
    assert [str(problem) for problem in repair_triggers("verify_qdrant --repair", timeouts=MigrationTimeouts(5, 5, 1))] == [
        "trigger vector_sync_deleted on users: disabled"
    ]


def test_repair__while_another_process_migrates__waits_until_its_deadline(migrated: Database) -> None:
    migrated.execute("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted")
    with (
        migration_lock("migrate"),
        pytest.raises(UserFacingError, match=r"^The migration lock was not free within 0 s: .*'findme migrate "),
    ):
        repair_triggers("verify_qdrant --repair", timeouts=MigrationTimeouts(0, 1, 1))


def test_repair__session_settings__are_as_before(migrated: Database) -> None:
    settings = "SELECT current_setting('lock_timeout'), current_setting('search_path')"
    with connection.cursor() as cursor:
        cursor.execute(settings)
        before = cursor.fetchone()
        migrated.execute("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted")
        repair_triggers("verify_qdrant --repair")
        cursor.execute(settings)
        assert cursor.fetchone() == before


@pytest.fixture
def as_another_role(migrated: Database) -> Iterator[str]:
    """Django's session uses a role that can read and write all tables but owns none."""
    with role() as (name, _):
        migrated.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}; GRANT USAGE ON SCHEMA public TO {name}")
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {name}")
        yield name
        connection.close()
        migrated.execute(f"DROP OWNED BY {name}")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted", "permission denied for function vector_sync_users_deleted"),
        ("ALTER FUNCTION vector_sync_notify() RESET search_path", "permission denied for schema public"),
    ],
)
def test_repair__role_that_does_not_own_the_tables__is_refused_in_one_line(
    migrated: Database, as_another_role: str, statement: str, reason: str
) -> None:
    migrated.execute(statement)
    before = catalog(migrated)
    with pytest.raises(UserFacingError) as refused:
        repair_triggers("verify_qdrant --repair")
    assert str(refused.value) == (
        f"The triggers were not repaired: {reason}; nothing was changed."
        " Run manage.py verify_qdrant --repair again with the role that owns the tables in DATABASE_URL."
    )
    assert catalog(migrated) == before


def test_repair__owner_who_is_no_superuser__repairs_all_but_foreign_keys(template: Database, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock(), role() as (name, _), database(template.name) as made, use_database(made):
        made.execute(
            f"DO $$ DECLARE r record; BEGIN"
            f" EXECUTE format('ALTER DATABASE %I OWNER TO {name}', current_database()); ALTER SCHEMA public OWNER TO {name};"
            f" FOR r IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') LOOP"
            f" EXECUTE format('ALTER TABLE %s OWNER TO {name}', r.name); END LOOP;"
            f" FOR r IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND probin IS NULL LOOP"
            f" EXECUTE format('ALTER FUNCTION %s OWNER TO {name}', r.name); END LOOP; END $$"
        )
        made.execute("ALTER TABLE users DISABLE TRIGGER ALL; DROP TRIGGER vector_sync_inserted ON users")
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {name}")
        assert len(repair_triggers("verify_qdrant --repair")) == 21
        assert problems() == ["foreign keys of users: not enforced, and only a superuser can repair it"]
        connection.close()
        assert [str(problem) for problem in repair_triggers("verify_qdrant --repair")] == [
            "foreign keys of users: not enforced, and only a superuser can repair it"
        ]
        assert problems() == []
        connection.close()
        made.execute("ALTER SCHEMA public OWNER TO CURRENT_USER")
        made.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
        made.execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO %I', current_database(), current_user); END $$")


# --- A schema of another name -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["live", "Live one"])
def renamed(migrated: Database, request: pytest.FixtureRequest) -> Database:
    """A database whose schema was renamed after the migrations, with a changed ``search_path``."""
    migrated.execute(PERSON)
    migrated.execute("INSERT INTO profile_embeddings (user_id, vector) SELECT id, array_fill(0.5::real, ARRAY[512]) FROM users")
    migrated.execute("TRUNCATE vector_sync_queue")
    migrated.execute(f'ALTER SCHEMA public RENAME TO "{request.param}"')
    migrated.execute(f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = \"{request.param}\"', current_database()); END $$")
    connection.close()
    return migrated


@pytest.mark.parametrize(
    ("statement", "entries"),
    [
        ("UPDATE users SET active = NOT active", [True]),
        ("UPDATE profile_embeddings SET interests = '{tea}'", [False]),
        ("DELETE FROM users", [True, True]),
        ("TRUNCATE profile_embeddings", [True]),
        (PERSON.replace("ann@", "bob@"), []),
        ("UPDATE users SET bio = 'Tea'", []),
    ],
)
def test_renamed_schema__changes_are_captured_without_a_problem(renamed: Database, statement: str, entries: list[bool]) -> None:
    assert problems() == []
    renamed.execute(statement)
    assert renamed.query("SELECT urgent FROM vector_sync_queue") == entries
    assert renamed.query("SELECT bool_and(updated_at >= created_at) FROM users") in ([True], [None])


def test_renamed_schema__users_of_calls_are_checked__also_in_a_session_from_before(renamed: Database) -> None:
    """The session has kept the plan of the function's queries."""
    (name,) = renamed.query("SHOW search_path")
    renamed.execute(PERSON.replace("ann@", "bob@"))
    renamed.execute(
        "INSERT INTO matches (user_id, matched_user_id, week_number, year, match_score, expires_at)"
        " SELECT min(id::text)::uuid, max(id::text)::uuid, 1, 2026, 1, now() FROM users"
    )
    call = "INSERT INTO video_calls (match_id, caller_id, callee_id, session_id) SELECT id, user_id, matched_user_id, gen_random_uuid() FROM matches"
    wrong = call.replace("matched_user_id", "user_id")
    with renamed.connect() as session:
        session.execute(call.encode())
        session.execute(f"ALTER SCHEMA {name} RENAME TO other; SET search_path = other".encode())
        session.execute(call.encode())
        with pytest.raises(psycopg.errors.CheckViolation, match="are not the users of match"):
            session.execute(wrong.encode())
        session.execute(f"ALTER SCHEMA other RENAME TO {name}; RESET search_path".encode())
    assert renamed.query("SELECT count(*) FROM video_calls") == [2]


def test_renamed_schema__is_repaired_too(renamed: Database) -> None:
    renamed.execute("DROP FUNCTION vector_sync_users_updated CASCADE; DROP FUNCTION vector_sync_embeddings_updated CASCADE")
    renamed.execute("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted; ALTER FUNCTION vector_sync_notify() SECURITY INVOKER")
    assert len(repair_triggers("verify_qdrant --repair")) == 6
    assert problems() == []
    renamed.execute("UPDATE users SET active = NOT active; DELETE FROM users")
    assert renamed.query("SELECT urgent FROM vector_sync_queue") == [True, True, True]


def test_renamed_schema__functions_of_the_previous_release__are_named(renamed: Database) -> None:
    """Functions with the old schema name in their search_path make every write fail after the rename."""
    renamed.execute(
        "CREATE OR REPLACE FUNCTION vector_sync_users_updated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = public, pg_temp AS 'BEGIN INSERT INTO vector_sync_queue (user_id) SELECT id FROM new_rows; RETURN NULL; END'"
    )
    with pytest.raises(psycopg.errors.UndefinedTable):
        renamed.execute("UPDATE users SET active = NOT active")
    assert problems() == ["function vector_sync_users_updated(): its search_path is public, pg_temp and should be pg_catalog, pg_temp"]
    repair_triggers("verify_qdrant --repair")
    renamed.execute("UPDATE users SET active = NOT active")
    assert renamed.query("SELECT urgent FROM vector_sync_queue") == [True]


def test_rolled_back_before_the_triggers__no_trigger_is_expected(migrated: Database) -> None:
    up_to(migrated, "vectorstore.0001_initial")
    assert problems() == []
    assert roll_back(plan_rollback(1), force=True).migrations
