"""Commands with settings of a role or a database: they work, or one line says how to undo the setting."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from django.db import OperationalError

from findme.core.postgresql.diagnosis import refusal_reason
from tests.support.database import Database, role, use_database


@pytest.fixture
def app(migrated: Database) -> Iterator[Database]:
    """A migrated database, used by a role that is no superuser and can read and write all tables."""
    with role() as (user, password):
        migrated.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {user}")
        yield Database(migrated.name, user, password)
        migrated.execute(f"DROP OWNED BY {user}")


def has(app: Database, setting: str) -> None:
    Database("postgres").execute(f"ALTER ROLE {app.user} IN DATABASE {app.name} SET {setting}")


def undo(app: Database, name: str) -> str:
    return f"To undo it: ALTER ROLE {app.user} IN DATABASE {app.name} RESET {name}; or use another role in DATABASE_URL.\n"


@pytest.mark.at_length
def test_commands__other_date_style(app: Database) -> None:
    has(app, "datestyle = 'SQL, DMY'")
    code, out, err = app.manage("schema_version", "--json", "--check")
    assert (code, err) == (0, "")
    assert len(json.loads(out)["history"]) == json.loads(out)["version"] > 0
    assert app.manage("migrate", "--verbosity", "0")[::2] == (0, "")


@pytest.mark.at_length("migrate", "migrate_--check", "rollback_1_--dry-run")
@pytest.mark.parametrize(
    "command", [["schema_version", "--check"], ["migrate"], ["migrate", "--check"], ["rollback", "1", "--dry-run"]], ids="_".join
)
def test_commands__a_search_path_without_the_tables(app: Database, command: list[str]) -> None:
    has(app, "search_path = foo")
    said = f"PostgreSQL: search_path is 'foo', and the tables of FindMe are in the schema public. {undo(app, 'search_path')}"
    assert app.manage(*command) == (2, "", said)


def test_commands__a_search_path_without_the_tables__of_a_statement(app: Database) -> None:
    has(app, "search_path = foo")
    said = f"PostgreSQL: search_path is 'foo', and the tables of FindMe are in the schema public. {undo(app, 'search_path')}"
    code, out, err = app.manage("erase_user", "4a9b659b-6607-5e7d-9873-1bd46266e31c", "--soft", "--no-input")
    assert (code, out) == (2, "")
    assert err == said.replace("PostgreSQL: ", 'PostgreSQL: relation "users" does not exist: ')


@pytest.mark.at_length("migrate_vectorstore_zero_--no-input", "loaddata_demo", "flush_--no-input")
@pytest.mark.parametrize(
    "command",
    [
        ["erase_user", "{user}", "--soft", "--no-input"],
        ["migrate", "vectorstore", "zero", "--no-input"],
        ["loaddata", "demo"],
        ["flush", "--no-input"],
    ],
    ids="_".join,
)
def test_commands__read_only_role__error_in_one_line(app: Database, command: list[str]) -> None:
    user = "4a9b659b-6607-5e7d-9873-1bd46266e31c"
    app.execute(
        f"INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender) VALUES ('{user}', 'a@example.org', '', 'Ann', '1990-01-01', 'female')"
    )
    has(app, "default_transaction_read_only = on")
    code, _, err = app.manage(*(word.format(user=user) for word in command))
    assert code == 2, err
    assert err.count("\n") == 1 and "read-only transaction" in err and "example.org" not in err
    assert f"default_transaction_read_only is 'on'. {undo(app, 'default_transaction_read_only').strip()}".lower() in err.lower()


@pytest.mark.at_length
def test_commands__statement_timeout__does_not_stop_a_migration(empty: Database) -> None:
    """Statements of the migrations take longer than the statement_timeout of the database."""
    Database("postgres").execute(f"ALTER DATABASE {empty.name} SET statement_timeout = '50ms'")
    empty.execute(
        "CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); END';"
        "CREATE EVENT TRIGGER wait ON ddl_command_end WHEN TAG IN ('CREATE VIEW', 'CREATE EXTENSION') EXECUTE FUNCTION wait()"
    )
    code, _, err = empty.manage("migrate", "--verbosity", "0")
    assert (code, err) == (0, "")


@pytest.mark.at_length
def test_commands__a_statement_that_takes_longer_than_its_limit__names_it(app: Database) -> None:
    has(app, "statement_timeout = '300ms'")
    with app.connect() as session, session.transaction():
        session.execute("LOCK TABLE django_migrations")
        code, out, err = app.manage("schema_version")
    assert (code, out) == (2, "")
    assert err == (
        f"PostgreSQL: canceling statement due to statement timeout: statement_timeout is '300ms'. {undo(app, 'statement_timeout')}"
    )


@pytest.mark.at_length
def test_commands__a_session_that_ends_when_it_is_idle__names_the_setting(app: Database) -> None:
    has(app, "idle_session_timeout = 1")
    for command in (["schema_version", "--check"], ["showmigrations"]):
        code, out, err = app.manage(*command)
        assert (code, out) == (2, ""), err
        assert err.count("\n") == 1 and err.startswith("PostgreSQL: ")
        assert "idle_session_timeout is '1ms'" in err and err.endswith(undo(app, "idle_session_timeout"))


@pytest.mark.at_length
def test_commands__a_limit_too_short_for_the_diagnosis__is_named(app: Database, migrated: Database) -> None:
    has(app, "statement_timeout = '1ms'")
    with migrated.connect() as session, session.transaction():
        session.execute("LOCK TABLE django_migrations")
        code, _, err = app.manage("schema_version")
    assert code == 2
    assert err.endswith(f": statement_timeout is '1ms'. {undo(app, 'statement_timeout')}")


@pytest.mark.parametrize("setting", ["idle_session_timeout", "idle_in_transaction_session_timeout"])
def test_refusal_reason__the_reason_was_lost_with_the_connection(migrated: Database, setting: str) -> None:
    error = OperationalError("it is over")
    error.__cause__ = psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly")
    with use_database(migrated):
        assert refusal_reason(error) is None
        Database("postgres").execute(f"ALTER DATABASE {migrated.name} SET {setting} = '5min'")
        assert refusal_reason(error) == (
            f"{setting} is '5min', which may have ended the session. To undo it: ALTER DATABASE {migrated.name} RESET {setting};"
            " or use another role in DATABASE_URL."
        )
        error.__cause__ = psycopg.OperationalError("connection failed: server closed the connection unexpectedly")
        assert refusal_reason(error) is None


@pytest.mark.at_length
def test_commands__triggers_that_would_not_fire__are_an_error(app: Database) -> None:
    has(app, "session_replication_role = replica")
    code, out, err = app.manage("schema_version")
    assert (code, out) == (2, "")
    assert err.startswith("session_replication_role is 'replica' for this role or database, so triggers and foreign keys would not run")


@pytest.mark.at_length
def test_commands__rows_that_a_policy_hides__do_not_count_as_deleted(app: Database, migrated: Database) -> None:
    migrated.execute("ALTER TABLE users ENABLE ROW LEVEL SECURITY")
    code, out, err = app.manage("erase_user", "4a9b659b-6607-5e7d-9873-1bd46266e31c", "--soft", "--no-input")
    assert (code, out) == (2, "")
    assert err == (
        'PostgreSQL: query would be affected by row-level security policy for table "users". Set a role with this permission in DATABASE_URL.\n'
    )
