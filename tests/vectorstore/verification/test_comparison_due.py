"""Repairing triggers records that a comparison is due, in the same transaction.

The record stays until a repair has compared both stores.
"""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from findme.core.triggers.problems import trigger_problems
from tests.schema.rows import ask, settle
from tests.support.commands import manage, run_python
from tests.support.users import create_synced_users
from tests.support.waiting import wait_until
from vectorstore.consistency.capture_check import capture_warning
from vectorstore.consistency.comparison_due import clear_comparison_due, comparison_due_at, comparison_due_warning, note_comparison_due
from vectorstore.models import QueueEntry, StoreState, SyncLease
from vectorstore.projection.points import Points, points_of
from vectorstore.queue.entries import ALL_USERS, enqueue
from vectorstore.sync import writer
from vectorstore.sync.batch import work
from vectorstore.sync.claims import Claim
from vectorstore.verification import verify as verify_module
from vectorstore.verification.verify import ChangeLimitExceeded, verify

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_recheck_delay")]

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
WARNING = "Changes from before 2026-05-01 12:00:00 UTC may be missing in Qdrant: triggers were repaired then, and the stores have not been compared since."
LOCKS_OF_USERS = """
    SELECT FROM pg_locks WHERE relation = 'users'::regclass AND mode = 'ShareRowExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
KILLED = """
import os, signal
from django.core.management import call_command
from vectorstore.verification import verify as module
module.{function} = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
call_command("verify_qdrant", "--repair")
"""


def delete_without_capture(user: UUID) -> None:
    ask("ALTER TABLE users DISABLE TRIGGER USER; ALTER TABLE profile_embeddings DISABLE TRIGGER USER")
    ask("DELETE FROM users WHERE id = %s", user)
    settle()


def record_due(moment: datetime) -> None:
    StoreState.current()
    StoreState.objects.update(comparison_due_at=moment)


# --- Killed between repairing triggers and comparing ------------------------------------------------------------------------------


@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
def test_repair__killed_after_repairing_triggers__every_command_says_that_a_comparison_is_due(live: str) -> None:
    deleted, *_ = create_synced_users(3)
    delete_without_capture(deleted)
    assert run_python(KILLED.format(function="trigger_problems"))[0] == -signal.SIGKILL
    assert trigger_problems() == () and not QueueEntry.objects.exists()

    due_at = comparison_due_at()
    assert due_at is not None
    warning, difference = comparison_due_warning(due_at), f"{live} (live): 3 points of 2 users, 1 differs."
    code, out, err = manage("sync_qdrant", "--once")
    assert (code, out, err) == (1, "Nothing to do.\n", f"{warning} Run manage.py verify_qdrant --repair.\n")
    code, out, _ = manage("verify_qdrant")
    assert (code, out.splitlines()[:2], out.splitlines()[-1]) == (
        1,
        [warning, difference],
        "To repair this: manage.py verify_qdrant --repair",
    )
    assert comparison_due_at() == due_at

    code, out, _ = manage("verify_qdrant", "--repair")
    assert (code, out.splitlines()[:2]) == (1, [warning, difference])
    assert comparison_due_at() is None
    assert QueueEntry.objects.values_list("user_id", flat=True).get() == deleted
    assert manage("sync_qdrant", "--once")[0] == 0
    assert manage("verify_qdrant")[:2] == (0, f"{live} (live): 2 points of 2 users, no differences.\n")


@pytest.mark.django_db(transaction=True)
def test_repair__killed_while_repairing_triggers__repairs_and_records_nothing(live: str) -> None:
    deleted, *_ = create_synced_users(2)
    delete_without_capture(deleted)
    before = trigger_problems()
    assert run_python(KILLED.format(function="note_comparison_due"))[0] == -signal.SIGKILL
    wait_until(lambda: not ask(LOCKS_OF_USERS))
    assert (trigger_problems(), comparison_due_at()) == (before, None)
    assert verify(repairing=True).queued == 1
    assert comparison_due_at() is None


# --- When the record is cleared ---------------------------------------------------------------------------------------------------


def test_repair__repairs_triggers_and_compares__clears_the_record(live: str) -> None:
    create_synced_users(1)
    ask("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted")
    verified = verify(repairing=True)
    assert (len(verified.repaired_triggers), verified.comparison_due_at, comparison_due_at()) == (1, None, None)


def test_repair__triggers_are_right__records_nothing(live: str) -> None:
    create_synced_users(1)
    assert verify(repairing=True).clean
    assert comparison_due_at() is None


def test_verify__without_repair__reports_the_due_comparison_and_keeps_the_record(live: str) -> None:
    create_synced_users(1)
    record_due(NOON)
    verified = verify()
    assert (verified.differing, verified.comparison_due_at, verified.clean, comparison_due_at()) == (0, NOON, False, NOON)


def test_repair__change_limit_exceeded__keeps_the_record(live: str) -> None:
    deleted, *_ = create_synced_users(2)
    delete_without_capture(deleted)
    with pytest.raises(ChangeLimitExceeded) as refused:
        verify(repairing=True, max_changes=0)
    assert refused.value.verified.comparison_due_at is None  # this run repaired the triggers itself
    assert trigger_problems() == () and comparison_due_at() is not None
    assert verify(repairing=True).queued == 1
    assert comparison_due_at() is None


def test_repair__qdrant_unavailable__keeps_the_record(settings: Settings) -> None:
    settings.QDRANT_URL = "http://127.0.0.1:9"
    ask("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted")
    with pytest.raises(CommandError):
        call_command("verify_qdrant", "--repair")
    assert trigger_problems() == () and comparison_due_at() is not None


def test_repair__triggers_repaired_again_meanwhile__keeps_the_newer_record(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create_synced_users(1)
    record_due(NOON)
    monkeypatch.setattr(verify_module, "_record", lambda *_: note_comparison_due())
    assert verify(repairing=True).comparison_due_at == NOON
    due_at = comparison_due_at()
    assert due_at is not None and due_at > NOON
    clear_comparison_due(NOON)
    assert comparison_due_at() == due_at
    clear_comparison_due(due_at)
    assert comparison_due_at() is None


def test_repair__worker_read_rows_before_an_uncaptured_change__user_is_written_again(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user, _ = create_synced_users(2)

    def read_then_change_without_capture(claim: Claim) -> Points:
        monkeypatch.setattr(writer, "points_of", points_of)
        read = points_of(claim)
        ask("ALTER TABLE users DISABLE TRIGGER USER")
        ask("UPDATE users SET verified = NOT verified WHERE id = %s", user)
        settle()
        assert (verify(repairing=True).differing, comparison_due_at()) == (0, None)
        return read

    enqueue([user])
    monkeypatch.setattr(writer, "points_of", read_then_change_without_capture)
    assert work(uuid4(), 10) is not None
    assert list(QueueEntry.objects.values_list("user_id", "cause")) == [(user, QueueEntry.Cause.RECHECK)]
    assert verify().collections[0].pending == 1
    assert work(uuid4(), 10) is not None
    assert verify().clean


def test_note_comparison_due__worker_holds_the_orphan_scan__queues_nothing() -> None:
    SyncLease.objects.create(pk=ALL_USERS, worker_id=uuid4(), expires_at=NOON)
    note_comparison_due()
    assert not QueueEntry.objects.exists()


def test_note_comparison_due__without_a_state_row__creates_it() -> None:
    StoreState.objects.all().delete()
    assert comparison_due_at() is None
    note_comparison_due()
    assert comparison_due_at() is not None


# --- Commands that report it ------------------------------------------------------------------------------------------------------


def test_init_qdrant_check__comparison_due__is_a_finding(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    record_due(NOON)
    with pytest.raises(SystemExit) as exited:
        call_command("init_qdrant", "--check")
    assert exited.value.code == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [WARNING, "To repair this: manage.py verify_qdrant --repair"]
    with pytest.raises(SystemExit):
        call_command("init_qdrant", "--check", "--json")
    assert json.loads(capsys.readouterr().out)["comparison_due_at"] == "2026-05-01T12:00:00+00:00"


def test_capture_warning__names_the_comparison_that_is_due_unless_triggers_are_lost() -> None:
    assert capture_warning() is None
    record_due(NOON)
    assert capture_warning() == f"{WARNING} Run manage.py verify_qdrant --repair."
    ask("ALTER TABLE users DISABLE TRIGGER vector_sync_deleted")
    assert str(capture_warning()).startswith("Changes in PostgreSQL may not be captured: trigger vector_sync_deleted on users: disabled.")
