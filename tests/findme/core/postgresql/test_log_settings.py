"""``check --database`` names settings that write rows to the server log. The embedded server has none."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from findme.core.postgresql.log_settings import RULES, leaking_log_settings
from findme.embedded import server
from findme.environment import BASE_DIR
from tests.support.database import Database

embedded = pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="it is about the embedded server")
POSTGRESQLS_DEFAULTS = {
    "log_min_error_statement": "error",
    "log_error_verbosity": "default",
    "log_min_messages": "warning",
    "log_parameter_max_length_on_error": "0",
}
LEAKING = {
    "log_min_error_statement": "fatal",
    "log_error_verbosity": "verbose",
    "log_parameter_max_length_on_error": "-1",
    "log_min_messages": "error",
    "log_statement": "mod",
    "log_min_duration_statement": "250ms",
    "log_min_duration_sample": "0",
    "log_transaction_sample_rate": "0.5",
    "debug_print_parse": "on",
    "debug_print_rewritten": "on",
    "debug_print_plan": "on",
    "auto_explain.log_min_duration": "0",
    "pgaudit.log": "write",
}


def alter(database: Database, values: dict[str, str]) -> None:
    for name, value in values.items():
        database.execute(f"ALTER DATABASE {database.name} SET {name} = '{value}'")


@embedded
def test_check__embedded_server__logs_no_row(empty: Database) -> None:
    assert leaking_log_settings() == ()


@pytest.mark.parametrize("name", RULES)
def test_check__one_leaking_setting__is_found(name: str, empty: Database) -> None:
    for other, rule in RULES.items():
        if "." not in other:
            alter(empty, {other: rule.wanted})
    alter(empty, {name: LEAKING[name]})
    connection.close()
    (found,) = leaking_log_settings()
    assert (found.name, found.value, found.wanted) == (name, LEAKING[name], RULES[name].wanted)


def test_check__postgresqls_defaults__one_warning_with_the_settings_to_set(empty: Database) -> None:
    alter(empty, POSTGRESQLS_DEFAULTS)
    connection.close()
    call_command("check", databases=["default"], fail_level="ERROR")
    with pytest.raises(CommandError) as found:
        call_command("check", databases=["default"], fail_level="WARNING")
    assert str(found.value).count("findme.W002") == 1
    assert (
        "(findme.W002) In the database 'default', PostgreSQL writes personal data into its server log:"
        " log_min_error_statement is 'error' (each statement that fails);"
        " log_error_verbosity is 'default' (the row that a constraint rejects (DETAIL));"
        " log_min_messages is 'warning' (a value that has the wrong type, in the message itself).\n"
        "\tHINT: Set log_min_error_statement = panic, log_error_verbosity = terse, log_min_messages = log."
        " See docs/privacy.md, PostgreSQL's server log."
    ) in str(found.value)


def test_check__the_documented_settings__end_the_warning(empty: Database) -> None:
    """Run the statements of docs/privacy.md for one database instead of the whole server."""
    alter(empty, LEAKING | {"auto_explain.log_min_duration": "-1", "pgaudit.log": "none"})
    documented = (BASE_DIR / "docs" / "privacy.md").read_text().split("### PostgreSQL's server log", 1)[1].split("\n### ", 1)[0]
    statements = [line.strip() for line in documented.splitlines() if line.strip().startswith("ALTER SYSTEM SET ")]
    assert statements
    for statement in statements:
        empty.execute(statement.replace("ALTER SYSTEM", f"ALTER DATABASE {empty.name}"))
    connection.close()
    assert leaking_log_settings() == ()


@embedded
def test_embedded__failed_statements__leave_nothing_of_the_user_in_the_log(migrated: Database) -> None:
    name = f"Jane-{secrets.token_hex(8)}"
    user = {"email": f"{name}@example.com", "password_hash": f"argon2-{name}", "full_name": name, "bio": f"I am {name}."}
    running = server.running(Path(settings.EMBEDDED_POSTGRES_DIR))
    assert running is not None
    log = running.folder / "log"
    with migrated.connect() as session:
        insert_user(session, user)
        fail_in_every_way(session, user)
        assert name not in log.read_text(errors="replace")
        # Control: with PostgreSQL's defaults, these statements do write values to this log.
        for setting, value in POSTGRESQLS_DEFAULTS.items():
            session.execute(f"SET {setting} = '{value}'".encode())
        fail_in_every_way(session, user)
    written = log.read_text(errors="replace")
    assert all(value in written for value in user.values())


INSERT = """
    INSERT INTO users (email, password_hash, full_name, bio, date_of_birth, gender)
    VALUES (%(email)s, %(password_hash)s, %(full_name)s, %(bio)s, '1990-01-01', 'female')
"""


def insert_user(session: psycopg.Connection[object], user: dict[str, str]) -> None:
    psycopg.ClientCursor(session).execute(INSERT, user)


def fail_in_every_way(session: psycopg.Connection[object], user: dict[str, str]) -> None:
    """Run statements that fail: a duplicate address, a missing column, and values of a wrong type.

    The values are in the statement, in parameters, and in COPY data.
    """
    no_date = INSERT.replace("'1990-01-01'", "NULL")
    wrong_type = "SELECT %(email)s::uuid, %(bio)s::date, %(password_hash)s::int, %(full_name)s::inet"
    for cursor in (psycopg.ClientCursor(session), session.cursor()):
        for statement in (INSERT, no_date, wrong_type):
            with pytest.raises(psycopg.Error):
                cursor.execute(statement.encode(), user)
    with pytest.raises(psycopg.Error), session.cursor().copy("COPY users (email, full_name, date_of_birth) FROM STDIN") as copy:
        copy.write_row((user["email"], user["full_name"], user["bio"]))
