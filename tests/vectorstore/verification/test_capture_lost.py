"""Commands that compare or sync name the triggers that no longer capture changes.

``verify_qdrant --repair`` repairs the triggers before it compares the stores.
"""

from __future__ import annotations

import json
import logging
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from findme.core.triggers.definitions import expected_triggers
from findme.core.triggers.problems import trigger_problems
from tests.schema.rows import ask, settle
from tests.support.commands import exit_code
from tests.support.users import create_synced_users
from vectorstore.consistency import capture_check
from vectorstore.consistency.capture_check import CaptureCheck
from vectorstore.models import QueueEntry

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_recheck_delay")]

LOST = [
    f"trigger {trigger.name} on {trigger.table}: enabled, but not ALWAYS"
    for trigger in expected_triggers().triggers
    if trigger.always and trigger.table in {"users", "profile_embeddings"}
]
WARNING = "Changes in PostgreSQL may not be captured: {}. Run manage.py verify_qdrant --repair."


def enabled_by_pg_restore() -> None:
    """Leave the triggers as ``pg_restore --disable-triggers`` does."""
    for table in ("users", "profile_embeddings"):
        ask(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        ask(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def delete_without_capture(user: UUID) -> None:
    ask("SET LOCAL session_replication_role = replica")
    ask("DELETE FROM profile_embeddings WHERE user_id = %s", user)
    ask("DELETE FROM users WHERE id = %s", user)
    ask("SET LOCAL session_replication_role = origin")
    settle()


def output(capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> tuple[int, list[str], list[str]]:
    """Return the exit code, and the lines of stdout and stderr."""
    code = exit_code(command, *arguments)
    printed = capsys.readouterr()
    return code, printed.out.splitlines(), printed.err.splitlines()


def test_repair__deletion_was_not_captured__repairs_the_triggers_and_then_finds_it(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    deleted, other, _ = create_synced_users(3)
    enabled_by_pg_restore()
    delete_without_capture(deleted)
    assert not QueueEntry.objects.exists()
    differs = [f"{live} (live): 3 points of 2 users, 1 differs.", f"  1 orphaned: {deleted}"]
    assert output(capsys, "verify_qdrant") == (
        1,
        [*(f"Not as migrated: {line}" for line in LOST), *differs, "To repair this: manage.py verify_qdrant --repair"],
        [],
    )
    assert output(capsys, "verify_qdrant", "--repair") == (
        1,
        [
            *(f"Repaired: {line}" for line in LOST),
            *differs,
            "1 user queued, 0 points deleted. Run manage.py sync_qdrant --once to write the points.",
        ],
        [],
    )
    assert trigger_problems() == ()
    delete_without_capture(other)
    assert set(QueueEntry.objects.values_list("user_id", flat=True)) == {deleted, other}
    code, out, err = output(capsys, "sync_qdrant", "--once")
    assert (code, out[-1], err) == (0, "0 points written, 2 removed.", [])
    assert output(capsys, "verify_qdrant") == (0, [f"{live} (live): 1 point of 1 user, no differences."], [])


def test_verify__triggers_lost_but_stores_agree__is_a_finding(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    create_synced_users(1)
    ask("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted")
    assert output(capsys, "verify_qdrant") == (
        1,
        [
            "Not as migrated: trigger vector_sync_deleted on users: disabled",
            f"{live} (live): 1 point of 1 user, no differences.",
            "To repair this: manage.py verify_qdrant --repair",
        ],
        [],
    )


def test_repair__qdrant_unavailable__says_that_missed_changes_are_not_queued(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.QDRANT_URL = "http://127.0.0.1:9"
    ask("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted")
    with pytest.raises(CommandError) as refused:
        call_command("verify_qdrant", "--repair", "--json")
    assert refused.value.returncode == 2
    assert str(refused.value).endswith(" The triggers are repaired, but changes that they missed are not queued yet.")
    assert capsys.readouterr() == ("", "Repaired: trigger vector_sync_deleted on users: disabled\n")
    assert trigger_problems() == ()


def test_sync__triggers_lost_and_nothing_queued__is_not_clean(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "sync_qdrant", "--once") == (0, ["Nothing to do."], [])
    ask("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted; DROP TRIGGER vector_sync_truncated ON users")
    assert output(capsys, "sync_qdrant", "--once") == (
        1,
        ["Nothing to do."],
        [WARNING.format("trigger vector_sync_deleted on users: disabled; trigger vector_sync_truncated on users: missing")],
    )


def test_capture_check__logs_each_new_problem_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(capture_check, "EVERY_SECONDS", 0)
    check = CaptureCheck()
    check.run()
    ask("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted")
    check.run()
    check.run()
    ask("ALTER TABLE users DISABLE TRIGGER vector_sync_inserted; ALTER TABLE users ENABLE ALWAYS TRIGGER vector_sync_deleted")
    check.run()
    assert caplog.messages == [
        WARNING.format("trigger vector_sync_deleted on users: disabled"),
        WARNING.format("trigger vector_sync_inserted on users: disabled"),
    ]


def test_capture_check__runs_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[None] = []
    monkeypatch.setattr(capture_check, "capture_warning", lambda: runs.append(None))
    check = CaptureCheck()
    check.run()
    check.run()
    assert len(runs) == 1


def test_init_qdrant_check__triggers_lost__is_a_finding(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, clean_lines, err = output(capsys, "init_qdrant", "--check")
    assert (code, err) == (0, [])
    ask("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted; DROP TRIGGER vector_sync_truncated ON users")
    problems = ["trigger vector_sync_deleted on users: disabled", "trigger vector_sync_truncated on users: missing"]
    assert output(capsys, "init_qdrant", "--check") == (
        1,
        [*clean_lines, *(f"Not as migrated: {problem}" for problem in problems), "To repair this: manage.py verify_qdrant --repair"],
        [],
    )
    with pytest.raises(SystemExit) as exited:
        call_command("init_qdrant", "--check", "--json")
    assert exited.value.code == 1
    assert json.loads(capsys.readouterr().out)["triggers"] == problems
