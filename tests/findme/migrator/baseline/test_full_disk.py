"""The disk is full during the conversion: one line, nothing half done, and the next run continues."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.db import connection

from findme.core.errors import UserFacingError
from findme.migrator.baseline.catalog import Table, read_tables
from findme.migrator.baseline.comparison import remaining_differences
from findme.migrator.baseline.scratch import GUIDE_TABLES
from tests.findme.migrator.baseline.guide_database import convert_tables, rows
from tests.support.database import Database

MIB = 1024 * 1024


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """A file system of ``size`` bytes that the account of the server can write. Only root may create one, and not in every container."""
    folder = Path(tempfile.mkdtemp(prefix="findme-disk-"))
    try:
        owner = connection_owner()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},uid={owner},mode=700", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("no right to create a file system")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def connection_owner() -> int:
    """Return the account that the server runs as."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('data_directory')")
        return Path(cursor.fetchone()[0]).stat().st_uid


@contextmanager
def moved_to(folder: Path, made: Database) -> Iterator[None]:
    """Keep the files of the database in the folder."""
    server, name = Database("postgres"), f"small_{made.name}"
    connection.close()
    server.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
    server.execute(f"ALTER DATABASE {made.name} SET TABLESPACE {name}")
    try:
        yield
    finally:
        connection.close()
        server.execute(f"ALTER DATABASE {made.name} SET TABLESPACE pg_default")
        server.execute(f"DROP TABLESPACE {name}")


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        for size in (MIB, 4096):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return filler


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.parametrize("step", ["users: build the index idx_users_name_email_trgm", "apply the migration vectorstore.0001_initial"])
def test_convert__disk_is_full__is_refused_and_continues(step: str, guide: Database, target: dict[str, Table]) -> None:
    before = rows(guide)
    with small_disk(64 * MIB) as folder, moved_to(folder, guide):

        def on_step(description: str) -> None:
            if description == step:
                fill(folder)

        with pytest.raises(UserFacingError, match=r"No space left on device|wrote only") as refused:
            convert_tables(target, on_step=on_step)
        assert "\n" not in str(refused.value)
        (folder / "filler").unlink()
        assert guide.query("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid") == []
        convert_tables(target)
        assert remaining_differences(read_tables(connection, "public", GUIDE_TABLES), target) == []
        assert rows(guide) == before
