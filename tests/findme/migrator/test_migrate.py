from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from findme.core.errors import StoreUnavailable, UserFacingError
from findme.migrator.migrate import Applied, apply_migrations
from findme.migrator.version import schema_version
from tests.findme.migrator.catalog import catalog
from tests.support.database import Database, use_database


@pytest.mark.at_length
def test_apply_migrations__twice__the_second_has_nothing_to_do(empty: Database) -> None:
    first = apply_migrations()
    assert first.migrations[:2] == ("migrator.0001_schema_version", "contenttypes.0001_initial")
    assert first.version == len(first.migrations) == schema_version().version
    assert apply_migrations() == Applied((), first.version)
    assert schema_version().is_current


def test_apply_migrations__steps__applies_the_first_of_them(empty: Database) -> None:
    assert apply_migrations(steps=2) == Applied(("migrator.0001_schema_version", "contenttypes.0001_initial"), 2)
    assert apply_migrations(steps=1) == Applied(("migrator.0002_schema_baseline",), 3)


def test_apply_migrations__no_such_database__is_unavailable(migrated: Database) -> None:
    with (
        use_database(Database("nosuchdatabase")),
        pytest.raises(StoreUnavailable, match=r'^PostgreSQL: .*database "nosuchdatabase" does not exist$'),
    ):
        apply_migrations()


def test_apply_migrations__recorded_before_its_dependency__is_refused(migrated: Database) -> None:
    migrated.execute("DELETE FROM django_migrations WHERE app = 'videos'")
    with pytest.raises(
        UserFacingError,
        match=r"^Migration accounts\.0002_user_video is applied before its dependency videos\.0001_initial on database 'default'\.$",
    ):
        apply_migrations()


def test_migrate__steps__applies_the_first_of_them(empty: Database, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("migrate", steps=2)
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("  Applying")] == [
        "  Applying migrator.0001_schema_version... OK",
        "  Applying contenttypes.0001_initial... OK",
    ]
    assert empty.version() == 2


def test_migrate__no_steps_at_all__is_refused() -> None:
    with pytest.raises(CommandError, match=r"^Error: argument --steps: '0' is not a whole number, 1 or more$"):
        call_command("migrate", "--steps", "0")


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf"])
def test_migrate__no_number_of_seconds__is_refused(seconds: str) -> None:
    with pytest.raises(CommandError, match=rf"^Error: argument --wait-seconds: '{seconds}' is not a number of seconds, 0 or more$"):
        call_command("migrate", f"--wait-seconds={seconds}")


def test_migrate__an_app_and_a_name__goes_there_and_back(migrated: Database) -> None:
    before = catalog(migrated)
    call_command("migrate", "sessions", "zero", verbosity=0, interactive=False)
    assert not migrated.has("django_session")
    call_command("migrate", "sessions", "0001", verbosity=0)
    assert catalog(migrated) == before


def test_migrate__fake__records_and_does_nothing(migrated: Database) -> None:
    call_command("migrate", "sessions", "zero", fake=True, verbosity=0)
    assert migrated.has("django_session")
    assert schema_version().unapplied == ("sessions.0001_initial",)
    call_command("migrate", "sessions", fake=True, verbosity=0)
    assert schema_version().is_current


def test_migrate__no_such_app__is_not_done(empty: Database) -> None:
    with pytest.raises(CommandError, match=r"^No installed app with label 'films'\.$") as refused:
        call_command("migrate", "films")
    assert refused.value.returncode == 2
