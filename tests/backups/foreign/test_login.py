"""A dump cannot do more than fill its database, whatever it holds. The role that it runs as is gone afterwards."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.foreign.login import drop_abandoned_roles, unprivileged_login
from backups.foreign.restore import restore_foreign
from backups.postgresql.cluster import describe_database
from backups.postgresql.connection import program_connection
from backups.postgresql.scratch import PREFIX, drop_abandoned_databases
from findme.core.errors import UserFacingError
from findme.core.postgresql.programs import find_program
from tests.backups.foreign.dumping import query, scratch
from tests.support.database import Database, role
from tests.support.processes import start_python
from tests.support.untraced import untraced
from tests.support.waiting import DEADLINE_SECONDS, wait_until

# For psql the string ends at the second quote, since a setting has changed meanwhile. So the rest of it is read as commands.
HIDDEN = """
SELECT pg_catalog.set_config('standard_' || 'conforming_strings', 'off', false);
SELECT '\\'';
{commands}
--';
"""
DENIED = "permission denied|must be owner|must be able to SET ROLE|may not|role .* does not exist|cannot run inside"


def restored(content: str, tmp_path: Path) -> None:
    """Restore a script that has not the tables that a restore needs: it always ends with an error."""
    path = tmp_path / "a.sql"
    path.write_text(content)
    with scratch() as made:
        try:
            restore_foreign(made, path)
        finally:
            assert query(made, "SELECT rolname FROM pg_roles WHERE rolname = current_database()") == []


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_hidden_command_of_psql__is_refused_by_psql(is_wrapped: bool, empty: Database, tmp_path: Path) -> None:
    """Without the restriction, psql runs the command."""
    traces = tmp_path / "traces"
    content = HIDDEN.format(commands=f"\\! touch {traces}")
    if is_wrapped:
        with pytest.raises(UserFacingError, match=r"psql failed: .*backslash commands are restricted"):
            restored(content, tmp_path)
        assert not traces.exists()
    else:
        found = program_connection(connection)
        command = [str(find_program("psql", 15).path), "-X", f"--dbname={found.conninfo}", "--set=ON_ERROR_STOP=1"]
        subprocess.run(command, input=content.encode(), env=found.environment, capture_output=True, timeout=DEADLINE_SECONDS, check=True)
        assert traces.exists()


ATTACKS = {
    "reset": "RESET SESSION AUTHORIZATION; RESET ROLE; SET ROLE NONE; SELECT pg_catalog.pg_read_file('PG_VERSION');",
    "role": "SET ROLE {user};",
    "session": "SET LOCAL SESSION AUTHORIZATION {user};",
    "program": "DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''true'''; END $$;",
    "file": "SELECT pg_catalog.lo_import('/etc/passwd');",
    "password": "DO $$ BEGIN EXECUTE 'ALTER ROLE {user} PASSWORD ''x'''; END $$;",
    "superuser": "DO $$ BEGIN EXECUTE format('ALTER ROLE %I SUPERUSER', session_user); END $$;",
    "setting": "DO $$ BEGIN EXECUTE 'ALTER DATABASE {live} CONNECTION LIMIT 0'; END $$;",
    "rename": "DO $$ BEGIN EXECUTE 'ALTER DATABASE {live} RENAME TO stolen'; END $$;",
    "drop": HIDDEN.format(commands="COMMIT; DROP DATABASE {live} WITH (FORCE);"),
    "create": HIDDEN.format(commands="COMMIT; CREATE DATABASE stolen;"),
    "sessions": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IS NOT NULL AND datname = '{live}';",
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.at_length(every=3)
def test_attack__is_denied(attack: str, empty: Database, tmp_path: Path) -> None:
    before = describe_database(connection)
    [user] = empty.query("SELECT session_user")
    content = ATTACKS[attack].format(live=empty.name, user=user)
    with pytest.raises(UserFacingError, match=rf"psql failed: ERROR: .*({DENIED})"):
        restored(content, tmp_path)
    assert describe_database(connection) == before


def test_settings_of_the_database__do_not_stay(empty: Database, tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_text("""
        DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET search_path TO elsewhere', current_database());
            EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 3', current_database());
            EXECUTE format('GRANT CREATE ON DATABASE %I TO PUBLIC', current_database());
        END $$;
    """)
    with scratch() as made:
        before = describe_database(made)
        with pytest.raises(UserFacingError, match="neither FindMe's tables"):
            restore_foreign(made, path)
        assert describe_database(made) == before


@pytest.mark.parametrize("is_failing", [False, True])
def test_role_that_may_create_roles_and_is_no_superuser(is_failing: bool, empty: Database) -> None:
    with connected_as_role("CREATEDB CREATEROLE") as name, scratch() as made:
        try_login(made, KeyboardInterrupt() if is_failing else None)
        assert query(made, "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()") == [name]
        assert query(made, "SELECT count(*) FROM pg_roles WHERE rolname = current_database()") == [0]
        assert query(made, "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE relname = 'made'") == ([] if is_failing else [name])


def test_ordinary_role__runs_the_dump_itself(empty: Database) -> None:
    with connected_as_role("CREATEDB"), scratch() as made, unprivileged_login(made) as login:
        assert login is None


def try_login(made: BaseDatabaseWrapper, error: BaseException | None) -> None:
    with suppress(KeyboardInterrupt), unprivileged_login(made) as login:
        assert login is not None
        found = program_connection(made, login=login)
        command = [str(find_program("psql", 15).path), "-X", f"--dbname={found.conninfo}", "--command=CREATE TABLE made (n int)"]
        subprocess.run(command, env=found.environment, capture_output=True, timeout=DEADLINE_SECONDS, check=True)
        if error is not None:
            raise error


@contextmanager
def connected_as_role(rights: str) -> Iterator[str]:
    """Connect Django as a new role, which the embedded server lets in without its password."""
    with role() as (name, password), pytest.MonkeyPatch.context() as patch:
        Database("postgres").execute(f"ALTER ROLE {name} {rights}")
        connection.close()
        patch.setattr(type(connection.copy()), "ensure_server", lambda _: None, raising=False)
        patch.setitem(connection.settings_dict, "USER", name)
        patch.setitem(connection.settings_dict, "PASSWORD", password)
        try:
            yield name
        finally:
            connection.close()


KILLED = """
import sys
from pathlib import Path
import django
django.setup()
from backups.foreign.restore import restore_foreign
from tests.backups.foreign.dumping import scratch
with scratch() as made:
    print(made.settings_dict["NAME"], flush=True)
    restore_foreign(made, Path(sys.argv[1]))
"""


def test_role_of_a_killed_run__is_dropped_by_the_next(empty: Database, tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_text("SELECT pg_catalog.pg_sleep(600);")
    environment = untraced() | {"DATABASE_URL": empty.url(), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with start_python(environment, "-c", KILLED, str(path)) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        wait_until(lambda: empty.query("SELECT pid FROM pg_stat_activity WHERE usename = %s AND query LIKE '%%pg_sleep%%'", name) != [])
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert name not in drop_abandoned_roles(connection)
    wait_until(lambda: name in drop_abandoned_databases(connection))
    assert empty.query("SELECT rolname FROM pg_roles WHERE rolname = %s", name) == []


def test_role_without_its_database__is_dropped_by_the_next(empty: Database) -> None:
    name = f"{PREFIX}{0:08x}_{0:016x}"
    empty.execute(f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name}")
    with scratch() as made, unprivileged_login(made):
        assert empty.query("SELECT rolname FROM pg_roles WHERE rolname = %s", name) == []
