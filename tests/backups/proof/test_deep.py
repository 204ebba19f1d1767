"""A deep verification: what it finds, and that it leaves nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from backups.create import create_backup
from backups.destinations.destination import MANIFEST, Destination
from backups.manifest import Database, Manifest, PostgresqlPart, signed
from backups.models import BackupVerification
from backups.postgresql import scratch as scratch_module
from backups.postgresql.cluster import describe_database
from backups.postgresql.scratch import scratch_database
from backups.proof.deep import verify_deep
from backups.proof.target import reason_without_owners, require_scratch
from backups.streams.keys import read_identities
from backups.streams.store import store
from backups.streams.zstandard import decompressor
from backups.verify import verify_backup
from findme.core.db.advisory_lock import AdvisoryLock, lock_session
from findme.core.errors import UserFacingError
from privacy.ledger.signing import signing_key, verifying_keys
from tests.backups.making import SERVERS, request
from tests.backups.proof.conftest import NAME, copied
from tests.support.commands import manage_here
from tests.support.database import Database as DatabaseOfTest
from tests.support.database import role

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("nothing_left")]


def refused(destination: Destination, name: str, identities: Any = ()) -> str:
    """Verify the backup deeply. Return the error: one line without a row."""
    with pytest.raises(UserFacingError) as raised:
        verify_deep(destination, name, verifying_keys(), identities, SERVERS)
    assert "\n" not in str(raised.value)
    assert NAME not in str(raised.value)
    return str(raised.value)


def sign_again(place: Path, manifest: Manifest) -> None:
    """Replace the manifest by this one, signed with the key of the test."""
    (place / manifest.name / MANIFEST).write_bytes(signed(manifest, signing_key()))


def part_of(manifest: Manifest) -> PostgresqlPart:
    assert manifest.postgresql is not None
    return manifest.postgresql


@pytest.mark.long
def test_verify_deep__good_backup__is_proven(made: Manifest, place: Path, embedded_qdrant: Path) -> None:
    code, out, err = manage_here("verify_backup", place / made.name, "--deep")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    rows = sum(table.rows for table in part_of(made).tables.values())
    assert lines[0].startswith("Restoring PostgreSQL into findme_scratch_")
    assert f"PostgreSQL: {rows} rows of {len(part_of(made).tables)} tables, counts and digests as in the manifest." in lines
    assert "Qdrant: 2 points equal to PostgreSQL, built from PostgreSQL." in lines
    assert lines[-1].startswith(f"{made.name} is proven. A restore takes ")
    row = BackupVerification.objects.get()
    assert (row.name, row.database, row.taken_at, row.is_complete) == (made.name, made.database.identity, made.taken_at, True)
    assert row.error == ""
    assert row.finished_at is not None
    assert row.restore_seconds is not None
    assert row.seconds is not None
    assert 0 < row.restore_seconds <= row.seconds
    assert (row.compared["points"], row.compared["written"], row.compared["recall"]) == (2, 2, 1.0)
    # The folder of the live store was not even created.
    assert not embedded_qdrant.exists()


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
@pytest.mark.parametrize("file", ["postgresql.dump", "cluster.json", "manifest"])
def test_verify_deep__one_bit__is_refused(
    embedded_qdrant: object, kept: Path, place: Path, destination: Destination, kind: str, file: str
) -> None:
    name = copied(kept, place, kind).name
    [path] = (place / name).glob(f"{file}.*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    error = refused(destination, name, read_identities(kept / "key") if kind == "encrypted" else ())
    if file != "manifest":
        assert f"{path.name!r} is damaged" in error
        assert BackupVerification.objects.get().error == error


def test_verify_deep__encrypted_without_key__is_refused(embedded_qdrant: object, kept: Path, place: Path, destination: Destination) -> None:
    assert "is encrypted: nothing was done" in refused(destination, copied(kept, place, "encrypted").name)
    assert not BackupVerification.objects.exists()


@pytest.mark.parametrize("file", ["postgresql.dump.zst", "cluster.json.zst", MANIFEST])
def test_verify_deep__missing_file__is_refused(made: Manifest, place: Path, destination: Destination, file: str) -> None:
    (place / made.name / file).unlink()
    assert ("has no file" if file != MANIFEST else "it has no manifest") in refused(destination, made.name)


OTHER = Database(name="other", oid=1, system_identifier="1")
CHANGES: list[tuple[Callable[[Manifest], Manifest], str]] = [
    (lambda one: replace(one, database=OTHER), "is a backup of another database, 'other' of the server 1: nothing was done"),
    (
        lambda one: replace(one, postgresql=replace(part_of(one), migrations=("accounts.9999_later",))),
        "this one does not have 1 migration of it, such as accounts.9999_later",
    ),
    (lambda one: replace(one, tables=("users",)), "does not have all of PostgreSQL"),
    (lambda one: replace(one, postgresql=None), "does not have all of PostgreSQL"),
    (lambda one: replace(one, format=2), "A later release of FindMe made the backup"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_verify_deep__not_for_this_database__is_refused(
    made: Manifest, place: Path, destination: Destination, change: Callable[[Manifest], Manifest], message: str
) -> None:
    sign_again(place, change(made))
    assert message in refused(destination, made.name)
    assert not BackupVerification.objects.exists()


def test_verify_deep__edited_manifest__is_refused(made: Manifest, place: Path, destination: Destination) -> None:
    path = place / made.name / MANIFEST
    fields = json.loads(path.read_bytes())
    fields["manifest"]["postgresql"]["tables"]["public.users"]["rows"] += 1
    path.write_text(json.dumps(fields))
    assert "signature" in refused(destination, made.name)


def test_verify_deep__changed_before_it_was_signed__is_found(made: Manifest, place: Path, destination: Destination) -> None:
    """All checksums are right. Only a restore shows that the rows are not those of the manifest."""
    path = place / made.name / "postgresql.dump.zst"
    content = decompressor().decompress(path.read_bytes())
    assert content.count(NAME.encode()) == 2
    with path.open("wb") as file:
        stored = store(io.BytesIO(content.replace(NAME.encode(), NAME.upper().encode(), 1)), file, ())
    dump = replace(
        part_of(made).dump, size=stored.size, sha256=stored.sha256, plain_size=stored.plain_size, plain_sha256=stored.plain_sha256
    )
    sign_again(place, replace(made, postgresql=replace(part_of(made), dump=dump)))
    verify_backup(destination, made.name, verifying_keys(), ())
    error = refused(destination, made.name)
    assert error.startswith("The digest of the table 'public.users' differs, although the number of rows is the same")
    row = BackupVerification.objects.get()
    assert (row.error, row.restore_seconds) == (error, None)


def test_verify_deep__two_at_once__the_second_is_refused(made: Manifest, destination: Destination) -> None:
    with lock_session("proof") as session, AdvisoryLock(session, int.from_bytes(b"proof", "big")).held(0, UserFacingError):
        assert "Another process verifies a backup of this database deeply (process " in refused(destination, made.name)


def test_verify_backup__options_for_deep__are_refused_without_it(made: Manifest, place: Path) -> None:
    code, _, err = manage_here("verify_backup", place / made.name, "--other-database")
    assert (code, "Add --deep, or omit them." in err) == (2, True)


# --- Where it restores ---------------------------------------------------------------------------------------------------------------


def test_require_scratch__a_name_that_leads_to_the_live_database__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler leads every name to one database. What tells is the oid."""
    monkeypatch.setattr(scratch_module, "connection_to", lambda live, _name: live.copy())
    with (
        scratch_database(connection, describe_database(connection), "test") as scratch,
        pytest.raises(UserFacingError, match="leads to the live database"),
    ):
        require_scratch(connection, scratch)


def test_require_scratch__another_or_a_filled_database__is_refused() -> None:
    with scratch_database(connection, describe_database(connection), "test") as scratch:
        found = require_scratch(connection, scratch)
        assert (found.name, found.system_identifier.isdigit()) == (scratch.settings_dict["NAME"], True)
        with scratch.cursor() as cursor:
            cursor.execute("CREATE TABLE filled (n int)")
        with pytest.raises(UserFacingError, match="leads to another database"):
            require_scratch(connection, scratch)
        with scratch.cursor() as cursor:
            cursor.execute("DROP TABLE filled")
        scratch.settings_dict["NAME"] = "another"
        with pytest.raises(UserFacingError, match="leads to another database"):
            require_scratch(connection, scratch)


def test_reason_without_owners__missing_roles_and_rights() -> None:
    description = describe_database(connection)
    assert reason_without_owners(connection, description, []) == ""
    assert reason_without_owners(connection, description, ["a", "b"]) == "the server does not have the roles a, b"
    with role() as (name, _password), connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {name}")
        try:
            assert "is not a member" in reason_without_owners(connection, description, [])
        finally:
            cursor.execute("RESET ROLE")


# --- A backup of an earlier release --------------------------------------------------------------------------------------------------


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.no_cover
def test_verify_deep__earlier_release__its_migrations_are_applied(
    embedded_qdrant: object, migrated: DatabaseOfTest, destination: Destination
) -> None:
    """The backup lacks the last migration of this app. It is restored, compared, and then brought up to date."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE backup_verifications; DELETE FROM django_migrations WHERE app = 'backups' AND name <> '0001_backups'")
    made = create_backup(destination, request())
    call_command("migrate", verbosity=0)
    _, proof = verify_deep(destination, made.name, verifying_keys(), (), SERVERS)
    assert "backups.0002_backup_verifications" in proof.applied_migrations
