"""A dump: the snapshot's rows, no secret in a command line, and one line for each way to fail."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from django.db import connection

from backups.postgresql import processes
from backups.postgresql.cluster import describe_database
from backups.postgresql.digests import table_digests
from backups.postgresql.dump import dump
from backups.postgresql.processes import shown_words
from backups.postgresql.snapshot import exported_snapshot
from backups.postgresql.tables import dumped_tables, named_tables
from findme.core.errors import UserFacingError
from findme.core.postgresql.programs import find_program
from tests.backups.postgresql.test_connection import ODD, connected
from tests.backups.postgresql.test_digests import digests, run
from tests.support.database import Database, database, use_database
from tests.support.processes import start_python
from tests.support.untraced import untraced
from tests.support.waiting import wait_until


def read_and(act: Callable[[], object], stream: BinaryIO) -> None:
    """Read the beginning of the stream, act, then read the rest. The dump is still being written: it is larger than a pipe."""
    assert stream.read(1)
    act()
    while stream.read(1 << 20):
        pass
    pytest.fail("The stream ended as if it were whole.")


@pytest.fixture
def large(empty: Database) -> Database:
    """A database with a table of 40 MB: pg_dump cannot write it before it is read."""
    empty.execute("CREATE TABLE large AS SELECT n, repeat(md5(n::text), 32) AS text FROM generate_series(1, 40000) n")
    return empty


def command_lines() -> dict[int, str]:
    """Return the command lines of all processes that this account can see."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(path.parent.name)] = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
    return found


def dumping(snapshot_id: str) -> list[int]:
    """Return the processes of the dump of this snapshot. A snapshot of another server can have the same id."""
    name = connection.settings_dict["NAME"]
    return [pid for pid, line in command_lines().items() if f"--snapshot={snapshot_id}" in line.split("\0") and f"dbname={name}" in line]


def backends(made: Database) -> list[int]:
    return made.query("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pg_dump'")


def test_dump__is_the_snapshot(empty: Database) -> None:
    empty.execute("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1)")
    before = digests()
    with exported_snapshot(connection) as snapshot:
        empty.execute("INSERT INTO numbers VALUES (2)")
        with dump(snapshot) as stream:
            written = stream.read()
    assert written.startswith(b"PGDMP")
    with database() as other, use_database(other):
        run("pg_restore", "--exit-on-error", data=written)
        assert digests() == before


def test_dump__the_digests_and_the_description_of_its_snapshot(empty: Database) -> None:
    """All that a manifest needs is read in the transaction of the snapshot, which only reads."""
    empty.execute("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1)")
    before, description = digests(), describe_database(connection)
    with exported_snapshot(connection) as snapshot:
        empty.execute("INSERT INTO numbers VALUES (2)")
        for _ in range(2):
            assert table_digests(snapshot.connection, dumped_tables(snapshot.connection)) == before
            assert describe_database(snapshot.connection) == description
        with dump(snapshot) as stream:
            written = stream.read()
    with database() as other, use_database(other):
        run("pg_restore", "--exit-on-error", data=written)
        assert digests() == before


DUMP_AND_WAIT = """
import sys
import django
django.setup()
from django.db import connection
from backups.postgresql.cluster import describe_database
from backups.postgresql.digests import table_digests
from backups.postgresql.dump import dump
from backups.postgresql.snapshot import exported_snapshot
with exported_snapshot(connection) as snapshot, dump(snapshot) as stream:
    stream.read(1)
    print(snapshot.id, flush=True)
    sys.stdin.read()
"""


def test_dump__its_process_is_killed__pg_dump_ends_too(large: Database) -> None:
    environment = untraced() | {"DATABASE_URL": large.url(), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with start_python(environment, "-c", DUMP_AND_WAIT, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        snapshot_id = process.stdout.readline().strip()
        assert len(dumping(snapshot_id)) == 1
        process.kill()
        process.wait()
    wait_until(lambda: not dumping(snapshot_id) and not backends(large))


def test_dump__only_the_named_tables(empty: Database) -> None:
    odd = 'A "b" of $a\\b.c; *?|(x)'
    quoted = odd.replace('"', '""')
    empty.execute(
        f'CREATE SCHEMA "S.x"; CREATE TABLE "S.x"."{quoted}" (n int); CREATE TABLE "S.x".other (n int); CREATE TABLE other (n int)'
    )
    with exported_snapshot(connection) as snapshot:
        tables = named_tables(snapshot.connection, [f"S.x.{odd}", "public.other"])
        with dump(snapshot, tables) as stream:
            written = stream.read()
    with database() as restored, use_database(restored):
        restored.execute('CREATE SCHEMA "S.x"')
        run("pg_restore", "--exit-on-error", data=written)
        assert [(table.schema, table.name) for table in dumped_tables(connection)] == [("S.x", odd), ("public", "other")]


def test_dump__no_command_line_has_the_password(older_server: int) -> None:
    with connected({"PASSWORD": ODD}, {}), database() as made, use_database(made):
        made.execute("CREATE TABLE large AS SELECT repeat(md5(n::text), 32) FROM generate_series(1, 40000) n")
        with exported_snapshot(connection) as snapshot, dump(snapshot) as stream:
            stream.read(1)
            lines = command_lines()
            assert len(dumping(snapshot.id)) == 1
            assert [line for line in lines.values() if ODD.strip() in line] == []
            stream.read()


def test_dump__an_exception_of_the_reader__ends_pg_dump_and_its_query(large: Database) -> None:
    ids = []

    def fail() -> None:
        with exported_snapshot(connection) as snapshot, dump(snapshot) as stream:
            ids.append(snapshot.id)
            stream.read(1)
            assert len(dumping(snapshot.id)) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert dumping(ids[0]) == []
    wait_until(lambda: not backends(large))


def test_dump__a_pg_dump_that_ignores_sigterm__is_killed(large: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "TERMINATE_SECONDS", 0.1)
    ids = []

    def fail() -> None:
        with exported_snapshot(connection) as snapshot, dump(snapshot) as stream:
            ids.append(snapshot.id)
            stream.read(1)
            os.kill(dumping(snapshot.id)[0], signal.SIGSTOP)  # a stopped process ends on SIGKILL only
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert dumping(ids[0]) == []


def test_dump__pg_dump_is_killed__the_last_read_fails(large: Database) -> None:
    with exported_snapshot(connection) as snapshot, pytest.raises(UserFacingError) as raised, dump(snapshot) as stream:
        read_and(lambda: os.kill(dumping(snapshot.id)[0], signal.SIGKILL), stream)
    assert str(raised.value) == "pg_dump failed: it was ended by signal 9. Correct this, then run the command again."


def test_dump__its_session_is_terminated__the_last_read_fails(large: Database) -> None:
    with exported_snapshot(connection) as snapshot, pytest.raises(UserFacingError) as raised, dump(snapshot) as stream:
        read_and(lambda: large.query("SELECT pg_terminate_backend(%s, 60000)", *backends(large)), stream)
    assert str(raised.value).startswith('pg_dump failed: Dumping the contents of table "large" failed: ')
    assert "Command was" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_dump__not_read_to_its_end__is_an_error(large: Database) -> None:
    with exported_snapshot(connection) as snapshot, pytest.raises(UserFacingError, match="pg_dump failed"), dump(snapshot) as stream:
        stream.read(1)


def test_dump__a_locked_table__is_waited_for_only_so_long(large: Database) -> None:
    with large.connect() as session, session.transaction(), exported_snapshot(connection) as snapshot:
        session.execute("LOCK TABLE large")
        with pytest.raises(UserFacingError) as raised, dump(snapshot, wait_seconds=0.05) as stream:
            stream.read()
    assert (
        str(raised.value)
        == "pg_dump failed: query failed: ERROR: canceling statement due to statement timeout. Correct this, then run the command again."
    )


def test_dump__unknown_snapshot__in_the_words_of_postgresql(empty: Database) -> None:
    with exported_snapshot(connection) as snapshot, pytest.raises(UserFacingError) as raised:  # noqa: SIM117  # two errors at once
        with dump(replace(snapshot, id="00000003-0000001B-1")) as stream:
            stream.read()
    assert "00000003-0000001B-1" in str(raised.value)


def test_dump__older_pg_dump__is_refused_before_it_starts(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backups.postgresql.dump.find_program", lambda name, major: find_program(name, major + 1))
    with exported_snapshot(connection) as snapshot, pytest.raises(UserFacingError, match="older than PostgreSQL"), dump(snapshot):
        pytest.fail("started")


@pytest.mark.parametrize(
    ("errors", "shown"),
    [
        ("pg_dump: error: query failed: ERROR:  no\npg_dump: detail: Query was: SELECT 'secret'\n  FROM x\n", "query failed: ERROR: no"),
        (
            (
                'pg_restore: error: COPY failed for table "users": ERROR:  bad row\nDETAIL:  Key (email)=(a@b)\nCONTEXT:  COPY users, line 1: "a@b"\n'
                "pg_restore: warning: errors ignored on restore: 1\n"
            ),
            'COPY failed for table "users": ERROR: bad row pg_restore: warning: errors ignored on restore: 1',
        ),
        (
            (
                "pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry 5; 0 0 TABLE x\npg_restore: error: could not execute query: ERROR:  no\n"
                "LINE 1: SELECT 'secret'\n               ^\nCommand was: SELECT 'secret'\n  FROM x;\n"
            ),
            "pg_restore: while PROCESSING TOC: could not execute query: ERROR: no",
        ),
        (
            "pg_dump: error: connection to server failed: No such file\n\tIs the server running?\n",
            "connection to server failed: No such file Is the server running?",
        ),
        (
            'pg_restore: error: COPY failed for table "users": ERROR:  invalid input syntax for type integer: "a"@b"\nCONTEXT:  COPY users, line 1\n',
            'COPY failed for table "users": ERROR: invalid input syntax for type integer: "..."',
        ),
        (
            'psql:<stdin>:5: ERROR:  value "4915112345678" is out of range for type integer\n',
            'ERROR: value "..." is out of range for type integer',
        ),
        ("", ""),
    ],
)
def test_shown_words__without_rows_and_statements(errors: str, shown: str) -> None:
    assert shown_words(errors) == shown
