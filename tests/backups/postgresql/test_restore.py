"""A restore: complete or an error in one line, without rows, and no process that stays."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from django.db import connection

from backups.postgresql.cluster import describe_database
from backups.postgresql.dump import dump
from backups.postgresql.restore import restore_file, restore_stream
from backups.postgresql.scratch import PREFIX, abandoned_databases, connection_to, drop_abandoned_databases, scratch_database
from backups.postgresql.snapshot import exported_snapshot
from findme.core.errors import UserFacingError
from findme.core.postgresql.programs import find_program
from tests.backups.postgresql.test_digests import digests
from tests.backups.postgresql.test_dump import command_lines
from tests.support.database import Database, database, role, use_database
from tests.support.postgresql_versions import installed_versions
from tests.support.processes import start_python
from tests.support.untraced import untraced
from tests.support.waiting import wait_until

SECRET = "row-not-shown"


def dumped() -> tuple[bytes, int]:
    """Return the dump of Django's database, and the major version of ``pg_dump``."""
    with exported_snapshot(connection) as snapshot, dump(snapshot) as stream:
        return stream.read(), find_program("pg_dump", snapshot.connection.connection.info.server_version // 10_000).major


def restoring() -> list[str]:
    return [line for line in command_lines().values() if "pg_restore\0" in line and connection.settings_dict["NAME"] in line]


@pytest.fixture
def filled(empty: Database) -> Database:
    empty.execute(f"""
        CREATE TABLE numbers (n int PRIMARY KEY, text text); INSERT INTO numbers SELECT n, '{SECRET}' || n FROM generate_series(1, 50000) n;
        CREATE TABLE others (n int REFERENCES numbers); INSERT INTO others SELECT n FROM generate_series(1, 1000) n
    """)
    return empty


@pytest.fixture
def target(filled: Database) -> Iterator[Database]:
    with database() as other:
        yield other


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_restore_stream__same_digests(size: int, filled: Database, target: Database) -> None:
    before, (content, major) = digests(), dumped()
    with use_database(target):
        with restore_stream(connection, major) as stream:
            for start in range(0, len(content), size):
                stream.write(content[start : start + size])
        assert digests() == before


def test_restore_file__by_several_jobs(filled: Database, target: Database, tmp_path: Path) -> None:
    before, (content, major) = digests(), dumped()
    path = tmp_path / "-a dump"
    path.write_bytes(content)
    with use_database(target):
        restore_file(connection, major, path, jobs=2)
        assert digests() == before


@pytest.mark.parametrize("end", [0, 3, 200, 500_000, -1000, -50])
def test_restore_stream__cut_off__is_an_error(end: int, filled: Database, target: Database) -> None:
    content, major = dumped()
    with (
        use_database(target),
        pytest.raises(UserFacingError, match="pg_restore failed: ") as raised,
        restore_stream(connection, major) as stream,
    ):
        stream.write(content[:end])
    assert "\n" not in str(raised.value)


def test_restore_stream__an_error_shows_no_row(filled: Database, target: Database) -> None:
    content, major = dumped()
    target.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$")
    target.execute("CREATE TABLE others (n int)")
    with use_database(target), pytest.raises(UserFacingError) as raised, restore_stream(connection, major) as stream:
        stream.write(content)
    assert 'relation "others" already exists' in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "CREATE TABLE" not in str(raised.value)


def test_restore_stream__an_exception_in_the_block__ends_pg_restore(filled: Database, target: Database) -> None:
    content, major = dumped()

    def fail() -> None:
        with restore_stream(connection, major) as stream:
            stream.write(content[:200_000])
            assert len(restoring()) == 1
            raise KeyboardInterrupt

    with use_database(target):
        with pytest.raises(KeyboardInterrupt):
            fail()
        assert restoring() == []


def test_restore__owners_and_privileges_are_kept_or_left_out(filled: Database) -> None:
    with role() as (name, _password):
        filled.execute(f"ALTER TABLE others OWNER TO {name}; GRANT SELECT ON numbers TO {name}")
        content, major = dumped()
        query = (
            "SELECT has_table_privilege(%s, 'numbers', 'SELECT') AND pg_get_userbyid(relowner) = %s FROM pg_class WHERE relname = 'others'"
        )
        for with_owners in (True, False):
            with database() as other, use_database(other):
                with restore_stream(connection, major, with_owners=with_owners) as stream:
                    stream.write(content)
                assert other.query(query, name, name) == [with_owners]
        filled.execute(f"DROP OWNED BY {name}")


def test_restore__older_pg_restore__is_refused(empty: Database) -> None:
    with pytest.raises(UserFacingError, match="older than PostgreSQL 99"), restore_stream(connection, 99):
        pytest.fail("started")


@pytest.mark.long
@pytest.mark.parametrize(
    "version", installed_versions() or [pytest.param(0, marks=pytest.mark.skip("no PostgreSQL in /usr/lib/postgresql"))]
)
def test_restore__by_a_newer_program_than_the_server(version: int, older_server: int) -> None:
    """The embedded package has the only pg_restore of many machines."""
    with database() as made, use_database(made), pytest.MonkeyPatch.context() as patch:
        made.execute("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1)")
        before = digests()
        patch.setenv("PATH", "/nonexistent")
        patch.setattr("findme.core.postgresql.programs.INSTALLATIONS", ())
        content, major = dumped()
        assert major > version
        with (
            scratch_database(connection, describe_database(connection), "test") as scratch,
            use_database(Database(scratch.settings_dict["NAME"])),
        ):
            with restore_stream(scratch, major) as stream:
                stream.write(content)
            assert digests() == before
            with pytest.raises(UserFacingError) as raised, restore_stream(scratch, major) as stream:
                stream.write(content)
            assert 'relation "numbers" already exists' in str(raised.value)
            assert "transaction_timeout" not in str(raised.value)


def test_scratch_database__has_the_locale_and_is_dropped(filled: Database) -> None:
    description = describe_database(connection)
    with scratch_database(connection, description, "test") as scratch:
        found = describe_database(scratch)
        assert found.name.startswith(PREFIX)
        locale = ("encoding", "locale_provider", "collate", "ctype", "locale", "icu_rules")
        assert [getattr(found, name) for name in locale] == [getattr(description, name) for name in locale]
        assert found.name not in abandoned_databases(connection)
        [comment] = filled.query("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", found.name)
        assert f":{os.getpid()}" in comment
    assert filled.query("SELECT datname FROM pg_database WHERE datname = %s", found.name) == []


def test_scratch_database__renamed_in_the_block__stays(filled: Database) -> None:
    with scratch_database(connection, describe_database(connection), "test") as scratch:
        name = scratch.settings_dict["NAME"]
        filled.execute(f"ALTER DATABASE {name} RENAME TO {name}_live")
    assert filled.query("SELECT datname FROM pg_database WHERE datname = %s", f"{name}_live") == [f"{name}_live"]
    assert f"{name}_live" not in abandoned_databases(connection)
    filled.execute(f"DROP DATABASE {name}_live")


def test_scratch_database__a_session_in_it_does_not_keep_it(filled: Database) -> None:
    with scratch_database(connection, describe_database(connection), "test") as scratch:
        other = connection_to(connection, scratch.settings_dict["NAME"])
        other.ensure_connection()
    with closing(other):
        assert filled.query("SELECT datname FROM pg_database WHERE datname = %s", other.settings_dict["NAME"]) == []


def test_scratch_database__without_createdb(filled: Database) -> None:
    with role() as (name, _password), connection.cursor() as cursor:
        before = dict(connection.settings_dict["OPTIONS"])
        connection.settings_dict["OPTIONS"]["assume_role"] = name
        try:
            with (
                pytest.raises(UserFacingError, match="may not create a database"),
                scratch_database(connection, describe_database(connection), "test"),
            ):
                pytest.fail("created")
        finally:
            connection.settings_dict["OPTIONS"] = before
        cursor.execute("RESET ROLE")


def test_scratch_database__unknown_locale(filled: Database) -> None:
    other = replace(describe_database(connection), locale_provider="c", collate="xx_XX", ctype="xx_XX", locale=None)
    with pytest.raises(UserFacingError, match=r"cannot be created: .*xx_XX"), scratch_database(connection, other, "test"):
        pytest.fail("created")


KILLED = """
import os, signal, sys
import django
django.setup()
from django.db import connection
from backups.postgresql.cluster import describe_database
from backups.postgresql.scratch import scratch_database
with scratch_database(connection, describe_database(connection), "test") as scratch:
    print(scratch.settings_dict["NAME"], flush=True)
    sys.stdin.read()
"""


def test_scratch_database__of_a_killed_run__is_dropped_by_the_next(filled: Database) -> None:
    environment = untraced() | {"DATABASE_URL": filled.url(), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with start_python(environment, "-c", KILLED, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert name.startswith(PREFIX)
        assert name not in abandoned_databases(connection)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def is_dropped() -> bool:
        # Another process that runs tests on the same server may drop it too.
        drop_abandoned_databases(connection)
        return filled.query("SELECT datname FROM pg_database WHERE datname = %s", name) == []

    # The server ends the session of the killed process, and so its lock, a moment later.
    wait_until(is_dropped)


def test_abandoned_databases__other_names_are_left_alone(filled: Database) -> None:
    other = f"{PREFIX}of_mine"
    filled.execute(f"CREATE DATABASE {other}")
    try:
        assert other not in abandoned_databases(connection)
    finally:
        filled.execute(f"DROP DATABASE {other}")
