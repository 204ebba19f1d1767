"""How old the last good backup and the last proof are, and which backup a drill takes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from backups.destinations.destination import Destination
from backups.management.commands import restore_drill
from backups.manifest import signed
from backups.models import Backup, BackupVerification
from backups.postgres import database_of
from backups.proof.drill import newest_complete
from backups.proof.runs import KILLED, Run, end_killed_runs, error_text
from backups.proof.status import age_text, backup_status
from findme.core.errors import UserFacingError
from privacy.ledger.signing import signing_key, verifying_keys
from tests.backups.manifests import manifest
from tests.support.commands import manage_here
from tests.support.database import role

pytestmark = pytest.mark.django_db


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


def backup(name: str, **changes: Any) -> None:
    fields = {"taken_at": ago(hours=1), "ended_at": ago(hours=1), "is_complete": True, "is_encrypted": False, "size": 1} | changes
    Backup.objects.create(destination="/backups", name=name, **({"database": database_of(connection).identity} | fields))


def run(name: str, **changes: Any) -> None:
    fields = {
        "database": database_of(connection).identity,
        "taken_at": ago(days=2),
        "is_complete": True,
        "finished_at": ago(days=1),
        "seconds": 9.0,
        "restore_seconds": 7.5,
    } | changes
    BackupVerification.objects.create(destination="/backups", name=name, **fields)


def test_backup_status__nothing_yet() -> None:
    found = backup_status()
    assert (found.backup, found.proof, found.failed, len(found.problems)) == (None, None, None, 2)


def test_backup_status__only_complete_backups_of_this_database_that_are_there_count() -> None:
    backup("good", taken_at=ago(hours=30))
    backup("partial", is_complete=False)
    backup("gone", gone_at=ago(minutes=1))
    backup("other", database="1/other")
    found = backup_status()
    assert found.backup is not None
    assert (found.backup.name, round(found.backup.age_seconds / 3600)) == ("good", 30)
    assert found.problems[0] == "The last good backup is 30.0 hours old, and at most 26.0 hours are allowed. Run manage.py backup."
    assert len(backup_status(timedelta(hours=31)).problems) == 1


def test_backup_status__only_runs_of_complete_backups_without_error_are_proofs() -> None:
    run("proven", finished_at=ago(days=36))
    run("partial", is_complete=False)
    run("other", database="1/other")
    run("running", finished_at=None)
    run("failed", error="It is damaged.", restore_seconds=None, finished_at=ago(days=2))
    found = backup_status()
    assert found.proof is not None
    assert (found.proof.name, found.proof.restore_seconds) == ("proven", 7.5)
    assert (
        found.problems[1] == "The last proof of a backup is 36.0 days old, and at most 35.0 days are allowed. Run manage.py restore_drill."
    )
    # The run of the partial backup ended later.
    assert found.failed is None
    run("failed again", error="It is damaged.", finished_at=ago(hours=1))
    failed = backup_status().failed
    assert failed is not None
    assert (failed.name, failed.error) == ("failed again", "It is damaged.")


def test_backup_status__command__exit_code_and_output() -> None:
    code, out, _ = manage_here("backup_status")
    assert code == 1
    assert out.splitlines() == [
        "There is no good backup of this database. Make one with manage.py backup.",
        "No backup of this database was proven by restoring it. Run manage.py restore_drill.",
    ]
    backup("good")
    run("proven")
    code, out, _ = manage_here("backup_status")
    assert (code, out.splitlines()) == (
        0,
        [
            "Last good backup: good in /backups, 60.0 minutes old.",
            "Last proof: proven in /backups, 24.0 hours ago. The restore took 7.5 seconds.",
        ],
    )
    assert manage_here("backup_status", "--max-age", "30m")[0] == 1
    assert manage_here("backup_status", "--max-drill-age", "12h")[0] == 1
    code, out, _ = manage_here("backup_status", "--json")
    assert (code, json.loads(out)["proof"]["name"], json.loads(out)["problems"]) == (0, "proven", [])
    run("failed", error="It is damaged.", finished_at=ago(minutes=1))
    code, out, _ = manage_here("backup_status")
    assert (code, out.splitlines()[-1]) == (0, "The last verification failed, that of failed: It is damaged.")


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1 seconds"), (119, "119 seconds"), (121, "2.0 minutes"), (7200, "2.0 hours"), (172_800, "2.0 days")]
)
def test_age_text__largest_unit(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_runs__killed__are_ended_by_the_next(destination: Destination) -> None:
    Run.begin(destination, manifest())
    assert backup_status().failed is None
    assert end_killed_runs() == 1
    row = BackupVerification.objects.get()
    assert (row.error, row.finished_at is not None, row.seconds) == (KILLED, True, None)
    assert end_killed_runs() == 0


def test_error_text__of_postgresql__has_no_row() -> None:
    backup("twice")
    with pytest.raises(IntegrityError) as raised, transaction.atomic():
        backup("twice")
    assert "twice" not in error_text(raised.value)
    assert 'duplicate key value violates unique constraint "backups_destination_name_key"' in error_text(raised.value)
    with pytest.raises(DataError) as raised_by_value, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 'someone@example.com'::int")
    assert error_text(raised_by_value.value) == 'invalid input syntax for type integer: "..."'
    assert error_text(KeyboardInterrupt()) == "The run was interrupted."
    assert error_text(UserFacingError("It is damaged.")) == "It is damaged."


# --- The drill -----------------------------------------------------------------------------------------------------------------------


def stored(place: Path, name: str, **changes: Any) -> None:
    """Write a backup whose files are there, with the sizes of its manifest."""
    one = manifest(name=name, **({"database": database_of(connection)} | changes))
    (place / name).mkdir(mode=0o700)
    for file in one.files:
        (place / name / file.name).write_bytes(bytes(file.size))
    (place / name / "manifest.json").write_bytes(signed(one, signing_key()))


def test_restore_drill__newest_complete_backup_of_this_database(
    place: Path, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserFacingError, match="There is no complete backup of this database in"):
        newest_complete(destination, verifying_keys())
    chosen: list[str] = []

    def verify(_destination: Destination, name: str, *_: object, **_options: object) -> None:
        chosen.append(name)
        raise UserFacingError("enough")

    monkeypatch.setattr(restore_drill, "verify_deep", verify)
    at = manifest().begun_at
    part = manifest().postgresql
    assert part is not None
    for day, name in enumerate(["old", "good", "partial", "other", "damaged", "unfinished"]):
        changes: dict[str, Any] = {"qdrant": None, "postgresql": replace(part, snapshot_at=at + timedelta(days=day))}
        if name == "partial":
            changes["only"] = "postgres"
        if name == "other":
            changes["database"] = replace(database_of(connection), name="other")
        stored(place, name, **changes)
    (place / "damaged" / "cluster.json.zst.age").unlink()
    (place / "unfinished" / "manifest.json").unlink()
    code, _, err = manage_here("restore_drill", place)
    assert (code, err, chosen) == (2, "enough\n", ["good"])


@pytest.mark.django_db(transaction=True)
def test_backup_status__role_that_may_only_read_the_two_tables(destination: Destination) -> None:
    """The role of a monitor."""
    run("proven")
    with role() as (name, _password), connection.cursor() as cursor:
        cursor.execute(f"GRANT SELECT ON backups, backup_verifications TO {name}; SET ROLE {name}")
        try:
            assert backup_status().proof is not None
        finally:
            cursor.execute(f"RESET ROLE; REVOKE SELECT ON backups, backup_verifications FROM {name}")
