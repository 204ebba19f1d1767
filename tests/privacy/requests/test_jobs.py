"""The jobs of ``process_requests``: contact addresses, reminders, several processes, and the end after a signal."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from random import Random
from subprocess import Popen, TimeoutExpired
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection, transaction
from pytest_django import Settings

from findme.core.errors import UserFacingError
from privacy.actions import pending
from privacy.ledger.entry import Kind
from privacy.local_dates import today
from privacy.models import AuditEntry, DataSubjectRequest, PendingAction, RequestRecipient
from privacy.models.request_choices import State
from privacy.requests import jobs
from privacy.requests.deadlines import due_date
from privacy.requests.jobs import BATCH, Failures, Processed, process, watch
from tests.privacy.requests.rows import request_in, update
from tests.support.commands import manage_here, started
from tests.support.sessions import is_waiting_for_lock
from tests.support.threads import in_thread
from tests.support.waiting import DEADLINE_SECONDS, wait_until

NOTHING = Processed(0, 0, {}, 0, "", (), (), (), ())
DAY = timedelta(days=1)


def closed(days_ago: int, state: State = State.WITHDRAWN, **columns: Any) -> DataSubjectRequest:
    """Return a request that was closed this many days ago."""
    request_id = request_in(state, received_on=today() - (days_ago + 1) * DAY, contact="ann@example.com", **columns)
    return DataSubjectRequest.objects.get(pk=request_id)


def contacts() -> int:
    return DataSubjectRequest.objects.filter(contact__isnull=False).count()


@pytest.mark.django_db
def test_contacts__are_deleted_when_their_time_is_over(settings: Settings) -> None:
    old, young, still_open = closed(1096), closed(1095), request_in(State.RECEIVED, contact="ann@example.com")
    assert process().contacts_deleted == 1
    assert not DataSubjectRequest.objects.get(pk=old.pk).contact
    assert contacts() == 2
    assert list(AuditEntry.objects.values_list("action", "request_id", "target_id", "outcome")) == [
        ("request_forget", old.pk, old.user_id, "done")
    ]
    settings.REQUEST_CONTACT_DAYS = 30
    assert process().contacts_deleted == 1
    assert DataSubjectRequest.objects.get(contact__isnull=False).pk == still_open
    assert DataSubjectRequest.objects.get(pk=young.pk).state == State.WITHDRAWN


@pytest.mark.django_db
def test_contacts__of_requests_that_were_recorded_wrongly() -> None:
    keys = {reason: request_in(State.RECEIVED, contact="ann@example.com") for reason in ("duplicate", "mistake", "by_person")}
    for reason, key in keys.items():
        update(key, state="withdrawn", withdrawal_reason=reason, closed_on=today())
    assert process().contacts_deleted == 2
    assert DataSubjectRequest.objects.get(contact__isnull=False).pk == keys["by_person"]


@pytest.mark.django_db
def test_contacts__several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "BATCH", 2)
    for _ in range(5):
        closed(1200)
    assert process().contacts_deleted == 5
    assert process() == NOTHING
    assert BATCH == 100


@pytest.mark.django_db
def test_contacts__interrupted_in_a_batch__nothing_of_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[object] = []

    def record_first(*arguments: object, **options: object) -> None:
        recorded.append(arguments)
        if len(recorded) == 2:
            raise KeyboardInterrupt

    closed(1200)
    closed(1300)
    monkeypatch.setattr(jobs, "record_step", record_first)
    with pytest.raises(KeyboardInterrupt):
        process()
    assert contacts() == 2


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_contacts__killed_again_and_again__each_is_deleted_and_recorded_once() -> None:
    keys = {closed(1200).pk for _ in range(3 * BATCH)}
    chance = Random(20_261_130)
    for seconds in [*(chance.uniform(1, 5) for _ in range(5)), None]:  # on a slow machine only the last process deletes any
        process = started("process_requests")
        with suppress(TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.communicate()
        forgotten = list(AuditEntry.objects.filter(action="request_forget").values_list("request_id", flat=True))
        assert contacts() == len(keys) - len(forgotten) and len(set(forgotten)) == len(forgotten)
    assert set(forgotten) == keys


@pytest.mark.django_db
def test_contacts__stop_after_the_current_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "BATCH", 1)
    closed(1200)
    should_stop = Event()
    should_stop.set()
    assert process(should_stop).contacts_deleted == 0
    assert contacts() == 1


@pytest.mark.django_db
def test_reminders() -> None:
    """A paused request is never late. It is named when its data subject has not answered for 30 days."""
    day = today()
    for days_ago in range(100):
        received_on = day - days_ago * DAY
        request_in(State.APPROVED, received_on=received_on, user_id=None, contact="a@example.com")
        request_in(State.ANSWERED, received_on=received_on)
    paused = request_in(State.IDENTITY_ASKED, received_on=day - 90 * DAY)
    request_in(State.IDENTITY_ASKED, received_on=day - 30 * DAY)
    found = process()
    due = {one.id: one.due_on for one in DataSubjectRequest.objects.filter(state=State.APPROVED)}
    assert [one.id for one in found.late] == [key for key in [one.id for one in found.late] if due[key] < day]
    assert {one.id for one in found.late} == {key for key, due_on in due.items() if due_on < day}
    assert {one.id for one in found.due_soon} == {key for key, due_on in due.items() if day <= due_on <= day + 7 * DAY}
    assert all((one.due_on - day).days == one.days for one in (*found.late, *found.due_soon))
    assert [(one.id, one.days) for one in found.waiting] == [(paused, 89)]


@pytest.mark.django_db
def test_recipients__that_are_still_open_after_the_answer() -> None:
    request = DataSubjectRequest.objects.get(pk=request_in(State.APPROVED, kind="rectification"))
    for name in ("bank", "film-storage"):
        RequestRecipient.objects.create(request=request, recipient=name)
    assert process().recipients_open == ()
    update(request.pk, state="answered", closed_on=today())
    assert process().recipients_open == (request.pk,)
    RequestRecipient.objects.update(informed_on=today())
    assert process().recipients_open == ()


@pytest.mark.django_db(transaction=True)
def test_actions__that_always_fail__do_not_keep_newer_ones_from_being_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [PendingAction.objects.create(user_id=uuid4(), kind=Kind.ERASE) for _ in range(6)]
    failing, tried = {row.user_id for row in rows[:5]}, list[UUID]()

    def complete(row: PendingAction) -> bool:
        tried.append(row.user_id)
        if row.user_id in failing:
            raise UserFacingError("A table of another program refers to the user. Delete its rows.")
        return True

    monkeypatch.setattr(pending, "BATCH_SIZE", 2)
    monkeypatch.setattr(pending, "_complete", complete)
    failures: Failures = {}
    result = process(retry_after=timedelta(hours=1), failures=failures)
    assert (result.actions_completed, set(result.actions_waiting)) == (1, failing)
    assert tried == [row.user_id for row in rows]
    newer = PendingAction.objects.create(user_id=uuid4(), kind=Kind.ERASE)
    result = process(retry_after=timedelta(hours=1), failures=failures)
    assert (result.actions_completed, set(result.actions_waiting), tried[6:]) == (1, failing, [newer.user_id])
    PendingAction.objects.filter(user_id=rows[0].user_id).delete()
    assert set(process(retry_after=timedelta(0), failures=failures).actions_waiting) == failing - {rows[0].user_id}
    assert len(tried) == 7 + 4


@pytest.mark.django_db
def test_command__lines_and_exit_code() -> None:
    assert manage_here("process_requests") == (0, "0 contact addresses deleted.\n0 privacy actions completed.\n", "")
    day = today()
    late = request_in(State.IDENTIFIED, received_on=day - 100 * DAY)
    due_on = due_date(day - 100 * DAY, closed=())
    code, out, err = manage_here("process_requests", "--once")
    assert (code, err) == (1, "")
    assert out.splitlines()[2:] == [f"{late} (access, identified): late by {(day - due_on).days} days, due on {due_on}."]
    code, out, err = manage_here("process_requests", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out)["late"] == [
        {"id": str(late), "kind": "access", "state": "identified", "due_on": str(due_on), "days": (due_on - day).days}
    ]


@pytest.mark.django_db(transaction=True)
def test_two_processes__each_address_is_deleted_once() -> None:
    """The second skips the rows of the first, and does not wait for them."""
    first, second = closed(1300), closed(1200)
    with transaction.atomic():
        DataSubjectRequest.objects.select_for_update().get(pk=first.pk)
        assert in_thread(process).result().contacts_deleted == 1
    assert process().contacts_deleted == 1
    assert set(AuditEntry.objects.values_list("request_id", flat=True)) == {first.pk, second.pk}
    assert AuditEntry.objects.count() == 2


@pytest.mark.django_db
def test_watch__reports_an_unavailable_store_once_and_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[OperationalError | Processed] = iter(
        [OperationalError("gone"), OperationalError("gone"), NOTHING, OperationalError("gone again"), NOTHING]
    )
    should_stop, seen = Event(), list[object]()

    def answer(_should_stop: Event, **_options: object) -> Processed:
        found = next(answers, None)
        if found is None:
            should_stop.set()
            return NOTHING
        if isinstance(found, OperationalError):
            raise found
        return found

    monkeypatch.setattr(jobs, "process", answer)
    monkeypatch.setattr(connection, "close", lambda: None)
    watch(should_stop, seen.append, seen.append, pause_seconds=0)
    assert seen == ["gone", NOTHING, "gone again", NOTHING, NOTHING]


@contextmanager
def watching(*options: str) -> Iterator[Popen[str]]:
    process = started("process_requests", "--watch", *options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_watch__two_processes_delete_each_address_once_and_stop_at_a_signal() -> None:
    for _ in range(2 * BATCH):
        closed(1200)
    with watching("--json") as first, watching() as second:
        assert first.stdout is not None and second.stdout is not None
        assert first.stdout.readline() == '{"watching": "requests"}\n'
        assert second.stdout.readline() == "Watching the requests. Ctrl-C ends it.\n"
        wait_until(lambda: contacts() == 0)
        ends = []
        for one in (first, second):
            one.send_signal(signal.SIGTERM)
            _out, err = one.communicate(timeout=DEADLINE_SECONDS)
            ends.append((one.returncode, err))
    assert ends == [(0, "")] * 2
    forgotten = list(AuditEntry.objects.filter(action="request_forget").values_list("request_id", flat=True))
    assert len(forgotten) == len(set(forgotten)) == 2 * BATCH


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_watch__stops_while_postgresql_does_not_answer() -> None:
    """The lock is never released. A process that waited for its statement would not end."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE data_subject_requests IN ACCESS EXCLUSIVE MODE")
        with watching() as process:
            wait_until(is_waiting_for_lock, "The process waits for the table", poll_seconds=0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_SECONDS) == 0
