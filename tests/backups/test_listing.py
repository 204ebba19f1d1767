"""What a destination has, and what is removed from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from backups.create import create_backup
from backups.destinations.destination import Destination
from backups.listing import list_backups
from backups.manifest import Manifest
from backups.models import Backup, BackupVerification
from backups.prune import prune_backups
from backups.retention import Keep
from backups.verify import verify_backup
from findme.core.errors import UserFacingError
from privacy.ledger.signing import verifying_keys
from tests.backups.making import contents, request
from tests.support.commands import manage_here

pytestmark = pytest.mark.django_db(transaction=True)
EMPTY = Keep(0, 0, 0)


@pytest.fixture
def made(embedded_qdrant: object, destination: Destination) -> Manifest:
    return create_backup(destination, request())


def problems(destination: Destination) -> dict[str, str]:
    return {one.name: one.problem for one in list_backups(destination, verifying_keys())}


def test_list_backups__the_newest_first(made: Manifest, place: Path, destination: Destination) -> None:
    second = create_backup(destination, request(only="postgres"))
    code, out, _ = manage_here("list_backups", place)
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == [second.name, made.name]
    assert lines[0].endswith("only postgres  not encrypted")
    assert lines[1].endswith("complete  not encrypted")
    assert lines[2] == "2 backups can be used."
    code, out, _ = manage_here("list_backups", place, "--json")
    assert [one["manifest"]["name"] for one in json.loads(out)["backups"]] == [second.name, made.name]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "It has no manifest"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"{}"), "The manifest is damaged"),
        (lambda folder: (folder / "postgresql.dump.zst").unlink(), "Its file 'postgresql.dump.zst' is missing."),
        (lambda folder: (folder / "cluster.json.zst").write_bytes(b"x"), "Its file 'cluster.json.zst' has 1 bytes instead of"),
        (lambda folder: folder.rename(folder.with_name("copy")), "is that of the backup"),
        (lambda folder: shutil.copytree(folder, folder.with_name("copy")), "is that of the backup"),
    ],
)
def test_list_backups__damaged__is_named(made: Manifest, place: Path, destination: Destination, damage: Any, problem: str) -> None:
    damage(place / made.name)
    assert any(problem in one for one in problems(destination).values())
    code, out, _ = manage_here("list_backups", place)
    assert (code, problem in out) == (1, True)
    # What is damaged is never removed, and never counts as the newest one.
    pruned = prune_backups(destination, EMPTY, dry_run=True)
    assert pruned.removed == ()
    assert len(pruned.skipped) == 1


def test_list_backups__a_damaged_one__still_counts_as_data(made: Manifest, place: Path, destination: Destination) -> None:
    (place / made.name / "postgresql.dump.zst").write_bytes(b"x")
    manage_here("list_backups", place)
    assert Backup.objects.filter(gone_at__isnull=True, is_complete=False).count() == 1


def test_prune_backups__keeps_the_newest_complete_one(made: Manifest, place: Path, destination: Destination) -> None:
    later = [create_backup(destination, request()).name for _ in range(2)]
    partial = create_backup(destination, request(only="postgres")).name
    code, out, _ = manage_here("prune_backups", place, "--keep-weekly", "1", "--dry-run")
    assert (code, out.splitlines()[-1]) == (0, "2 backups would be removed, 2 kept.")
    assert len(problems(destination)) == 4
    code, out, _ = manage_here("prune_backups", place, "--keep-weekly", "1")
    assert (code, out.splitlines()[-1]) == (0, "2 backups removed, 2 kept.")
    assert set(problems(destination)) == {later[1], partial}
    assert set(Backup.objects.filter(gone_at__isnull=True).values_list("name", flat=True)) == {later[1], partial}
    row = BackupVerification.objects.create(
        destination=destination.name, name=partial, database="1/findme", taken_at=made.taken_at, is_complete=False
    )
    assert prune_backups(destination, EMPTY, dry_run=False).removed == ()
    BackupVerification.objects.filter(pk=row.pk).update(finished_at=made.taken_at)
    assert prune_backups(destination, EMPTY, dry_run=False).removed[0].name == partial
    assert set(problems(destination)) == {later[1]}


def test_prune_backups__what_a_killed_run_left__is_removed(made: Manifest, place: Path, destination: Destination) -> None:
    tag = made.name.rpartition("-")[2]
    for name in (f"20200101T000000Z-{tag}", "20200101T000000Z-00000000"):
        (place / name).mkdir(mode=0o700)
        (place / name / "postgresql.dump.zst").write_bytes(b"x")
    pruned = prune_backups(destination, EMPTY, dry_run=True)
    assert len(pruned.skipped) == 2
    pruned = prune_backups(destination, EMPTY, dry_run=False)
    # The other one can be that of another database, which is being made.
    assert [one.name for one in pruned.skipped] == ["20200101T000000Z-00000000"]
    assert len([name for name in contents(place) if "/" not in name]) == 2


def test_prune_backups__without_a_number__is_refused(made: Manifest, place: Path) -> None:
    code, _, err = manage_here("prune_backups", place)
    assert (code, "No --keep option was given: nothing was changed." in err) == (2, True)


@pytest.mark.parametrize("file", ["postgresql.dump.zst", "cluster.json.zst", "manifest.json"])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_verify_backup__one_bit__is_found(made: Manifest, place: Path, destination: Destination, file: str, where: float) -> None:
    path = place / made.name / file
    content = bytearray(path.read_bytes())
    content[round((len(content) - 1) * where)] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserFacingError):
        verify_backup(destination, made.name, verifying_keys(), ())
    code, _, err = manage_here("verify_backup", place / made.name)
    assert (code, len(err.strip().splitlines())) == (2, 1)


def test_verify_backup__names_the_files(made: Manifest, place: Path) -> None:
    code, out, _ = manage_here("verify_backup", f"{place / made.name}/")
    assert (code, out) == (0, f"{made.name}: 2 files, size and checksum as in the manifest, before and after compression.\n")


@pytest.mark.parametrize("source", ["nothing", "s3://", "/"])
def test_verify_backup__no_backup__is_one_line(embedded_qdrant: object, place: Path, source: str) -> None:
    code, _, err = manage_here("verify_backup", source)
    assert (code, "names no backup" in err) == (2, True)
    code, _, err = manage_here("verify_backup", place / "nothing")
    assert (code, "There is no backup 'nothing' in" in err) == (2, True)
