"""A real ``pg_restore --data-only --disable-triggers`` into a migrated database."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from findme.core.postgresql.programs import installed_binaries
from findme.core.triggers.definitions import expected_triggers
from findme.core.triggers.problems import trigger_problems
from findme.migrator.trigger_repair import repair_triggers
from tests.findme.migrator.catalog import catalog
from tests.findme.migrator.undoing import PERSON
from tests.support.database import Database

UNKNOWN_BEFORE_17 = 'unrecognized configuration parameter "transaction_timeout"'
"""The setting that ``pg_restore`` 17 and later sends first. An older server rejects it; ``pg_restore`` continues and exits with 1."""
STATES = "SELECT DISTINCT tgenabled::text FROM pg_trigger WHERE starts_with(tgname, 'vector_sync_')"


def run(program: str, database: Database, *arguments: str) -> None:
    """Run the newest available program: an older one refuses a newer server."""
    parameters = {key: value for key, value in database._parameters().items() if key in ("host", "port", "user")}
    options = [f"--{'username' if key == 'user' else key}={value}" for key, value in parameters.items()]
    password = {"PGPASSWORD": database._parameters().get("password", "")}
    command = [str(installed_binaries().path(program)), *options, f"--dbname={database.name}", *arguments]
    ran = subprocess.run(command, env=os.environ | password, check=False, capture_output=True, text=True, timeout=300)
    errors = [line for line in ran.stderr.splitlines() if " error: " in line and UNKNOWN_BEFORE_17 not in line]
    assert not errors and ran.returncode in (0, 1 if UNKNOWN_BEFORE_17 in ran.stderr else 0), ran.stderr


@pytest.mark.at_length
@pytest.mark.long
def test_pg_restore__triggers_that_it_enables_again__are_named_and_repaired_to_always(migrated: Database, tmp_path: Path) -> None:
    migrated.execute(PERSON)
    migrated.execute("INSERT INTO profile_embeddings (user_id, vector) SELECT id, array_fill(0.5::real, ARRAY[512]) FROM users")
    before = catalog(migrated)
    file = tmp_path / "data.dump"
    run("pg_dump", migrated, "--format=custom", f"--file={file}")
    migrated.execute("DELETE FROM users")
    migrated.execute("TRUNCATE vector_sync_queue")
    assert migrated.query(STATES) == ["A"]
    tables = ("--table=users", "--table=profile_embeddings")
    run("pg_restore", migrated, "--data-only", "--disable-triggers", *tables, str(file))

    assert migrated.query(STATES) == ["O"]
    lost = [
        f"trigger {trigger.name} on {trigger.table}: enabled, but not ALWAYS"
        for trigger in expected_triggers().triggers
        if trigger.always and trigger.table in {"users", "profile_embeddings"}
    ]
    assert [str(problem) for problem in trigger_problems()] == lost
    migrated.execute("SET session_replication_role = replica; UPDATE users SET active = false")
    assert migrated.query("SELECT user_id FROM vector_sync_queue") == []

    assert [str(problem) for problem in repair_triggers("verify_qdrant --repair")] == lost
    assert catalog(migrated) == before
    migrated.execute("SET session_replication_role = replica; DELETE FROM users")
    assert migrated.query("SELECT urgent FROM vector_sync_queue") == [True]
