"""The checks of a restored database, and the private folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from backups.proof import amcheck, folder
from backups.proof.amcheck import check_pages
from backups.proof.constraints import validate_constraints
from backups.proof.folder import delete_abandoned_folders, private_folder
from findme.core.errors import UserFacingError
from tests.support.database import Database, role
from tests.support.waiting import wait_until

SECRET = "row-not-shown"


# --- Constraints ---------------------------------------------------------------------------------------------------------------------


def test_validate_constraints__not_valid__is_validated(empty: Database) -> None:
    empty.execute("CREATE TABLE numbers (n int CHECK (n > 0)); INSERT INTO numbers VALUES (1)")
    count, found = validate_constraints(connection)
    assert found == []
    empty.execute('ALTER TABLE numbers ADD CONSTRAINT "Small" CHECK (n < 9) NOT VALID')
    assert validate_constraints(connection) == (count + 1, ["Small"])
    assert validate_constraints(connection) == (count + 1, [])


def test_validate_constraints__violated__is_one_line_without_the_row(empty: Database) -> None:
    empty.execute(f"""
        CREATE TABLE names (name text); INSERT INTO names VALUES ('{SECRET}');
        ALTER TABLE names ADD CONSTRAINT short CHECK (length(name) < 5) NOT VALID
    """)
    with pytest.raises(UserFacingError) as raised:
        validate_constraints(connection)
    assert str(raised.value).startswith(
        "The constraint 'short' of 'names' is NOT VALID, and its rows violate it: check constraint \"short\" of relation \"names\" is violated"
    )
    assert SECRET not in str(raised.value)


# --- Pages ---------------------------------------------------------------------------------------------------------------------------

REVERSED = """
    CREATE FUNCTION compare(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 - $2';
    CREATE OPERATOR CLASS reversible FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
        FUNCTION 1 compare(int, int);
    CREATE TABLE numbers (n int); INSERT INTO numbers SELECT generate_series(1, 100);
    CREATE INDEX numbers_idx ON numbers USING btree (n reversible)
"""


def test_check_pages__damaged_index__is_named(empty: Database) -> None:
    empty.execute(REVERSED)
    assert check_pages(connection) == ""
    empty.execute(
        "DROP EXTENSION amcheck; CREATE OR REPLACE FUNCTION compare(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $2 - $1'"
    )
    with pytest.raises(UserFacingError) as raised:
        check_pages(connection)
    assert "pg_amcheck found damaged pages in the restored database: btree index" in str(raised.value)
    assert "numbers_idx" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_check_pages__without_the_program_or_the_right__says_so(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with role() as (name, _password), connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {name}")
        assert check_pages(connection) == 'permission denied to create extension "amcheck"'
        cursor.execute("RESET ROLE")

    def missing(*_: object) -> None:
        raise UserFacingError("There is no pg_amcheck for PostgreSQL 18. Searched: everywhere.")

    monkeypatch.setattr(amcheck, "find_program", missing)
    assert check_pages(connection) == "There is no pg_amcheck for PostgreSQL 18"


# --- The folder ----------------------------------------------------------------------------------------------------------------------

HOLDING = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from backups.proof.folder import private_folder
with private_folder(0) as path:
    (path / "snapshot").write_bytes(b"x")
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def holder(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has a folder."""
    command = [sys.executable, "-c", HOLDING, str(temporary)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_private_folder__is_private_and_deleted(temporary: Path) -> None:
    with private_folder(1) as path:
        assert (path.parent, path.stat().st_mode & 0o777) == (temporary, 0o700)
        (path / "file").write_bytes(b"x")
    assert list(temporary.iterdir()) == []


def test_private_folder__without_room__is_refused(temporary: Path) -> None:
    with pytest.raises(UserFacingError, match=r"The snapshots need 9,000,000,000,000,000 bytes"), private_folder(9 * 10**15):
        pytest.fail("created")
    assert list(temporary.iterdir()) == []


def test_delete_abandoned_folders__only_that_of_a_killed_process(temporary: Path) -> None:
    with holder(temporary) as (process, path):
        assert delete_abandoned_folders() == []
        assert (path / "snapshot").exists()
        process.kill()
        process.wait()
        wait_until(lambda: delete_abandoned_folders() == [path])
    assert list(temporary.iterdir()) == []


def test_delete_abandoned_folders__another_account_or_a_link__is_left_alone(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / "other").mkdir()
    (temporary / f"{folder.PREFIX}link").symlink_to(temporary / "other")
    (temporary / f"{folder.PREFIX}open").mkdir()
    (temporary / f"{folder.PREFIX}open").chmod(0o777)
    assert delete_abandoned_folders() == []
    (temporary / f"{folder.PREFIX}open").chmod(0o700)
    uid = os.geteuid()
    monkeypatch.setattr("backups.proof.folder.os.geteuid", lambda: uid + 1)
    assert delete_abandoned_folders() == []
