"""A restore: both stores of one moment, no erased user is back, or everything as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from backups.apart.run import Apart
from backups.checks import takes
from backups.create import create_backup
from backups.destinations.opening import open_destination
from backups.manifest import _manifest_of, signed
from backups.restoring.old_databases import old_databases
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.ledger.signing import signing_key
from privacy.models import LedgerEntry
from tests.backups.making import request as backup_request
from tests.backups.restore.world import World, is_restored, left_over, nothing_left
from tests.factories import UserFactory
from tests.support.commands import manage_here, refused
from tests.support.database import Database
from vectorstore.catalog import registry
from vectorstore.models import StoreState


def test_restore__over_a_database_with_rows__both_stores_of_one_moment(world: World, served: Database, restore_journal: Path) -> None:
    """The erased user is not back, the newcomer is in the old database only, and the ledger is that of today."""
    entries = LedgerEntry.objects.count()
    done = world.restore()
    assert is_restored(world)
    assert (done.backup, done.database, done.repeated) == (world.backup.name, served.name, {"Erase": 1})
    assert done.collection is not None
    assert (done.collection.points, done.collection.written, done.collection.is_from_snapshot) == (3, 3, False)
    assert LedgerEntry.objects.count() == entries
    assert registry.live() == done.collection.name
    assert registry.retained() == [done.collection.old_name]
    assert [one.name for one in old_databases(connection)] == [done.old_database]
    nothing_left(served, restore_journal)


def test_restore__to_an_empty_server__needs_no_force(world: World, served: Database, restore_journal: Path) -> None:
    connection.close()
    Database("postgres").execute(f"DROP DATABASE {served.name} WITH (FORCE)")
    done = world.restore(force=False)
    assert done.old_database is None
    assert is_restored(world)
    assert old_databases(connection) == []
    nothing_left(served, restore_journal)


def test_restore__fails_in_the_restored_database__everything_is_as_before(
    world: World, served: Database, restore_journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the erased user cannot be deleted, for example."""
    before = StoreState.current().checkpoint

    def fail(*arguments: Any, **options: Any) -> Any:
        raise StoreUnavailable("The store of files does not answer.")

    monkeypatch.setattr(Apart, "call", fail)
    with pytest.raises(StoreUnavailable, match="store of files"):
        world.restore()
    assert not is_restored(world)
    assert StoreState.current().checkpoint == before
    assert old_databases(connection) == []
    nothing_left(served, restore_journal)


def test_restore__of_another_content__is_found_by_the_digests(world: World, served: Database, restore_journal: Path) -> None:
    """The signed manifest has another digest than the rows of the dump."""
    path = Path(world.place) / world.backup.name / "manifest.json"
    fields = json.loads(path.read_bytes())["manifest"]
    table = fields["postgresql"]["tables"]["public.users"]
    table["digest"] = str(int(table["digest"]) + 1)
    path.write_bytes(signed(_manifest_of(fields), signing_key()))
    with pytest.raises(UserFacingError, match=r"^The digest of the table 'public\.users' differs"):
        world.restore()
    assert not is_restored(world)
    nothing_left(served, restore_journal)


def test_restore__refused_before_it_begins(served: Database, embedded_qdrant: object, place: Path, restore_journal: Path) -> None:
    """Nothing is written, not even the journal."""
    UserFactory.create()
    destination = open_destination(str(place))
    some = create_backup(destination, backup_request(only="postgres", tables=("users",)))
    assert "--tables brings back" in refused("restore", f"{place}/{some.name}", "--force")
    whole = create_backup(destination, backup_request(only="postgres"))
    source = f"{place}/{whole.name}"
    assert "is not empty: it has" in refused("restore", source)
    code, out, _ = manage_here("restore", source, "--force", "--dry-run")
    assert (code, out) == (0, f"{whole.name}: nothing prevents the restore, and nothing was changed.\n")
    (place / whole.name / "postgresql.dump.zst").rename(place / "moved")
    assert "has no file 'postgresql.dump.zst'" in refused("restore", source, "--force")
    (place / "moved").rename(place / whole.name / "postgresql.dump.zst")
    path = place / whole.name / "manifest.json"
    fields = json.loads(path.read_bytes())["manifest"]
    fields["postgresql"]["migrations"].append("accounts.9999_of_tomorrow")
    path.write_bytes(signed(_manifest_of(fields), signing_key()))
    assert "does not have 1 migration of it, such as accounts.9999_of_tomorrow" in refused("restore", source, "--force")
    assert not restore_journal.exists()
    assert left_over(served) == []


@pytest.mark.parametrize(
    "options",
    [(), ("x", "--only", "qdrant", "--force"), ("x", "--tables", "users", "--force"), ("x", "--tables", "users", "--only", "postgres")],
)
def test_command__options_that_do_not_fit(served: Database, options: tuple[str, ...]) -> None:
    assert "nothing was restored" in refused("restore", *options)


@pytest.mark.parametrize(
    ("server", "snapshot", "expected"),
    [
        ("1.18.3", "1.18.0", True),
        ("1.19.0", "1.18.3", True),
        ("1.18.3", "1.19.0", False),
        ("1.20.0", "1.18.3", False),
        ("2.0.0", "1.18.3", False),
    ],
)
def test_takes(server: str, snapshot: str, expected: bool) -> None:
    assert takes(server, snapshot) is expected


def test_command__prints_what_to_do_next(world: World, served: Database) -> None:
    source = f"{world.place}/{world.backup.name}"
    assert "is not empty" in refused("restore", source)
    code, out, err = manage_here("restore", source, "--force", "--dry-run")
    assert (code, err) == (0, "")
    assert out.endswith("nothing prevents the restore, and nothing was changed.\n")
    code, out, err = manage_here("restore", source, "--force")
    assert (code, err) == (0, "")
    assert "3 points" in out
    assert "0 differences" in out
    assert "Erase: repeated for 1 user." in out
    (old,) = old_databases(connection)
    assert f"What was changed since then is in the old database {old.name!r}" in out
    assert "confirm_staff" in out
    assert is_restored(world)
    code, out, err = manage_here("restore", "--drop-old", "--no-input")
    assert (code, err) == (0, "")
    assert out.startswith(f"{old.name}, ")
    assert old_databases(connection) == []


def test_command__into__is_a_copy_that_owns_nothing(world: World, served: Database) -> None:
    """The live database and Qdrant stay as they are. The copy has an id of its own, and no erased user."""
    name = f"{served.name}_copy"
    copy = Database(name)
    code, out, err = manage_here("restore", f"{world.place}/{world.backup.name}", "--into", copy.url())
    try:
        assert (code, err) == (0, "")
        assert "Qdrant was not changed" in out
        assert not is_restored(world)
        assert set(copy.query("SELECT id FROM users")) == {*world.stay, world.changed}
        assert copy.query("SELECT database_id FROM vector_store_state") != [StoreState.current().database_id]
        assert copy.query("SELECT count(*) FROM vector_collections") == [0]
    finally:
        Database("postgres").execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.mark.parametrize("url", ["mysql://x/y", "postgresql://host", "postgresql://user:secret@host/name", "postgresql://[/x"])
def test_command__into__wrong_url__is_not_quoted(served: Database, url: str) -> None:
    line = refused("restore", "/x/y", "--into", url)
    assert "secret" not in line
    assert "nothing was restored" in line
