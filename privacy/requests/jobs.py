"""What waits: contact addresses and exports to delete, privacy actions to complete, and reminders of deadlines.

Any number of processes can run the jobs at the same time. A process skips the rows that another one works on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from threading import Event
from typing import TypeAlias
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Q

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from privacy.actions.pending import process_pending
from privacy.actions.purging import found_again, purge_erased
from privacy.audit import Action, record_step
from privacy.kept_exports.removal import remove_files_without_row, remove_finished_exports
from privacy.local_dates import today
from privacy.models import DataSubjectRequest, PendingAction
from privacy.models.request_choices import State, WithdrawalReason
from privacy.requests.deadlines import LONG_WAIT, SOON
from privacy.requests.fulfilment import erase_approved, wait_for_ledger

BATCH = 100
"""Rows of one transaction."""
PAUSE_SECONDS = 10.0
"""Pause between two runs with ``--watch``. So long a user who was deleted by plain SQL may be missing in the ledger."""
RETRY_AFTER = timedelta(minutes=1)
"""How long ``--watch`` waits before it tries an erasure again. Each attempt adds an entry to the audit log."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reminder:
    """A request that needs the officer. ``days`` are the days to the deadline, negative after it, or since the question for the identity."""

    id: UUID
    kind: str
    state: str
    due_on: date
    days: int


@dataclass(frozen=True, slots=True)
class Processed:
    """``late`` and ``due_soon`` are open requests. ``waiting`` are those whose data subject was asked for their identity long ago.

    ``recipients_open`` are answered requests with recipients that are neither informed nor excused. ``actions_completed`` are privacy actions that
    plain SQL or a killed process had begun, and ``actions_waiting`` has the reason for each user whose action could not be completed. ``exports_deleted`` are files of exports that were downloaded or have expired, and ``exports_waiting`` says why the files
    cannot be deleted.
    """

    contacts_deleted: int
    actions_completed: int
    actions_waiting: dict[UUID, str]
    exports_deleted: int
    exports_waiting: str
    late: tuple[Reminder, ...]
    due_soon: tuple[Reminder, ...]
    waiting: tuple[Reminder, ...]
    recipients_open: tuple[UUID, ...]
    erasures_done: int = 0
    erasures_waiting: dict[UUID, str] = field(default_factory=dict)
    """The reason for each approved erasure that could not be carried out, by request."""
    purged: int = 0
    """Erasures of which no byte is left since this run."""
    found_again: tuple[UUID, ...] = ()
    """Erasures whose user a scan has found in a store, under whatever key."""


Failures: TypeAlias = dict[UUID, tuple[float, str]]
"""When (``time.monotonic``) and why the pending action of a user has failed in this process."""


def process(should_stop: Event | None = None, *, retry_after: timedelta = timedelta(0), failures: Failures | None = None) -> Processed:
    """Run every job once. After ``should_stop`` is set, stop at the end of the current transaction.

    An erasure that failed less than ``retry_after`` ago is not tried, nor is a pending action of the ``failures``, to which new ones are added. If the ledger outside is unavailable, the jobs that need it wait, the others run,
    and then StoreUnavailable is raised.
    """
    should_stop = should_stop or Event()
    deleted = _repeat(delete_expired_contacts, should_stop)
    failures = {} if failures is None else failures
    _forget_failures(failures, retry_after)
    not_erased: dict[UUID, str] = {}
    completed = erased = 0
    unavailable: StoreUnavailable | None = None
    try:
        completed = _complete_actions(failures, should_stop)
        erased = 0 if should_stop.is_set() else erase_approved(not_erased, retry_after=retry_after)
    except StoreUnavailable as error:
        wait_for_ledger()
        unavailable = error
    purged = 0 if should_stop.is_set() else purge_erased()
    exports = _delete_exports(should_stop)
    if unavailable is not None:
        raise unavailable
    return Processed(
        deleted,
        completed,
        {user_id: reason for user_id, (_at, reason) in failures.items()},
        *exports,
        *reminders(),
        recipients_open(),
        erased,
        not_erased,
        purged,
        found_again(),
    )


def watch(
    should_stop: Event,
    on_processed: Callable[[Processed], None],
    on_unavailable: Callable[[str], None],
    *,
    pause_seconds: float = PAUSE_SECONDS,
) -> None:
    """Run every job again and again until ``should_stop`` is set. An unavailable PostgreSQL is reported once."""
    unavailable = False
    failures: Failures = {}
    while not should_stop.is_set():
        try:
            processed = process(should_stop, retry_after=RETRY_AFTER, failures=failures)
        except (DatabaseError, InterfaceError, UserFacingError) as error:
            connection.close()
            if not unavailable:
                on_unavailable(one_line(error))
            unavailable = True
        else:
            unavailable = False
            on_processed(processed)
        should_stop.wait(pause_seconds)


def _repeat(job: Callable[[], int], should_stop: Event) -> int:
    """Run a job until it finds no row, and return the number of rows."""
    done = 0
    while not should_stop.is_set() and (rows := job()):
        done += rows
    return done


def _complete_actions(failures: Failures, should_stop: Event) -> int:
    """Complete pending actions, and return their number. After a failure, continue with the other users, unless a store is unavailable."""
    completed = 0
    while not should_stop.is_set():
        result = process_pending(skip=failures.keys())
        now = time.monotonic()
        failures.update({user_id: (now, reason) for user_id, reason in result.waiting.items()})
        completed += result.completed
        if result.is_unavailable or not (result.completed or result.waiting):
            break
    return completed


def _forget_failures(failures: Failures, retry_after: timedelta) -> None:
    """Leave out the failures that are older than ``retry_after``, and those of actions that another process has completed."""
    pending = set(PendingAction.objects.filter(user_id__in=list(failures)).values_list("user_id", flat=True))
    until = time.monotonic() - retry_after.total_seconds()
    for user_id in [user_id for user_id, (at, _reason) in failures.items() if at <= until or user_id not in pending]:
        del failures[user_id]


def _delete_exports(should_stop: Event) -> tuple[int, str]:
    """Delete the files of finished exports. A folder that cannot be reached must not stop the other jobs."""
    deleted = 0
    try:
        deleted += _repeat(remove_finished_exports, should_stop)
        return deleted + remove_files_without_row(), ""
    except UserFacingError as error:
        return deleted, one_line(error)


def delete_expired_contacts() -> int:
    """Delete the contact addresses of a batch of requests, and return their number.

    The time for complaints is over, or the request was recorded twice or by mistake, so there is no answer to complain about. A request that another
    transaction has locked is skipped.
    """
    is_over = Q(closed_on__lt=today() - timedelta(days=settings.REQUEST_CONTACT_DAYS))
    is_wrong = Q(withdrawal_reason__in=[WithdrawalReason.DUPLICATE, WithdrawalReason.MISTAKE])
    with transaction.atomic():
        expired = DataSubjectRequest.objects.filter(is_over | is_wrong, contact__isnull=False)
        requests = list(expired.order_by("closed_on").select_for_update(skip_locked=True, no_key=True)[:BATCH])
        for request in requests:
            request.contact = None
            request.save(update_fields=["contact"])
            record_step(Action.REQUEST_FORGET, request, actor_id=None)
    return len(requests)


def reminders() -> tuple[tuple[Reminder, ...], tuple[Reminder, ...], tuple[Reminder, ...]]:
    """Return the requests that are late, due soon, and waiting for the identity."""
    day = today()
    is_due = Q(closed_on__isnull=True, due_on__lte=day + SOON) & ~Q(state=State.IDENTITY_ASKED)
    is_waiting = Q(state=State.IDENTITY_ASKED, identity_asked_on__lte=day - LONG_WAIT)
    rows = DataSubjectRequest.objects.filter(is_due).order_by("due_on", "pk")
    due = [Reminder(row.pk, row.kind, row.state, row.due_on, (row.due_on - day).days) for row in rows]
    waiting = [
        Reminder(row.pk, row.kind, row.state, row.due_on, (day - row.identity_asked_on).days)
        for row in DataSubjectRequest.objects.filter(is_waiting).order_by("identity_asked_on", "pk")
        if row.identity_asked_on is not None
    ]
    late, soon = [one for one in due if one.days < 0], [one for one in due if one.days >= 0]
    return tuple(late), tuple(soon), tuple(waiting)


def recipients_open() -> tuple[UUID, ...]:
    rows = DataSubjectRequest.objects.filter(state=State.ANSWERED, recipients__informed_on__isnull=True, recipients__not_informed_reason="")
    return tuple(rows.order_by("closed_on", "pk").values_list("pk", flat=True).distinct())
