"""``check --database`` names lost triggers. ``check`` without it needs no database."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from tests.support.database import Database
from tests.support.processes import manage

LOST = "ALTER TABLE users DISABLE TRIGGER vector_sync_deleted; DROP TRIGGER vector_sync_truncated ON users"
NAMED = (
    "In the database 'default', not as migrated: trigger vector_sync_deleted on users: disabled",
    "In the database 'default', not as migrated: trigger vector_sync_truncated on users: missing",
)


@pytest.fixture(autouse=True)
def any_server_log(settings: Settings) -> None:
    """Ignore the log settings of the server of DATABASE_URL. ``test_log_settings`` tests them."""
    settings.SILENCED_SYSTEM_CHECKS = ["findme.W002"]


@pytest.mark.django_db
def test_check__triggers_as_migrated__finds_nothing() -> None:
    call_command("check", databases=["default"], fail_level="WARNING")


@pytest.mark.django_db
def test_check__lost_triggers__are_named() -> None:
    with connection.cursor() as cursor:
        cursor.execute(LOST)
    with pytest.raises(CommandError) as found:
        call_command("check", databases=["default"], fail_level="WARNING")
    for line in NAMED:
        assert f"(findme.W001) {line}\n\tHINT: Run manage.py verify_qdrant --repair." in str(found.value)
    call_command("check", fail_level="WARNING")


def test_check__database_not_migrated__finds_nothing(empty: Database) -> None:
    call_command("check", databases=["default"], fail_level="WARNING")


def test_migrate__lost_triggers__are_named_and_stop_nothing(migrated: Database, capsys: pytest.CaptureFixture[str]) -> None:
    migrated.execute(LOST)
    call_command("migrate", skip_checks=False)
    written = capsys.readouterr()
    assert "No migrations to apply." in written.out
    assert all(line in written.err for line in NAMED)


@pytest.mark.at_length
def test_check__without_a_database_named__needs_no_server() -> None:
    settings = {"DEBUG": "on", "DATABASE_URL": "postgresql:///findme?host=/nonexistent"}
    assert manage("check", **settings)[::2] == (0, "")
    code, out, err = manage("check", "--database", "default", **settings)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("PostgreSQL: ")
