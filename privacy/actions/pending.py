"""Complete actions that a trigger has noted, or that a killed process has begun."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connection

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.db.expressions import IsAmong
from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from findme.core.postgresql.arrays import uuid_array
from findme.core.waiting import wait_until
from privacy.actions.anonymize import anonymize
from privacy.actions.around_holds import ended_actions
from privacy.actions.erase import erase
from privacy.actions.notes import record_missing, settle_undone
from privacy.actions.restriction import finish_stop
from privacy.ledger.entry import Kind
from privacy.models import PendingAction
from privacy.users import user_exists

LOCK = 7_021_339_562_118_409
"""Key of the advisory lock of the process that completes pending actions. Any otherwise unused number."""
BATCH_SIZE = 1000


@dataclass(frozen=True, slots=True)
class PendingResult:
    """``recorded`` entries are new in the ledger, and ``completed`` actions are no longer pending. ``waiting`` has the reason by user.

    ``is_busy`` means that another process completes pending actions, so nothing was done. After ``is_unavailable``, no further action was tried.
    """

    recorded: int = 0
    completed: int = 0
    waiting: dict[UUID, str] = field(default_factory=dict)
    is_busy: bool = False
    is_unavailable: bool = False


def process_pending(*, wait_seconds: float = 0, skip: Collection[UUID] = ()) -> PendingResult:
    """Record and complete the oldest pending actions, at most ``BATCH_SIZE``, and as many whose holds have ended.

    Leave out the users in ``skip``: actions that always fail must not keep newer ones from being tried.

    Another process may do it: wait for it, also for the session of a killed one, up to ``wait_seconds``, then do nothing.

    An action that fails stays pending. Raise UserFacingError and StoreUnavailable if the ledger cannot record them: then nothing was changed.
    """
    lock = AdvisoryLock(connection, LOCK)
    if not wait_until(lock.try_acquire, wait_seconds):
        return PendingResult(is_busy=True)
    try:
        actions = PendingAction.objects.filter(is_held=False).exclude(IsAmong("user_id", uuid_array(skip)))
        rows = [*actions.order_by("pk")[:BATCH_SIZE], *ended_actions(BATCH_SIZE, skip)]
        new = record_missing(rows) if rows else 0
        completed, waiting, is_unavailable = 0, {}, False
        for row in rows:
            try:
                completed += complete_action(row)
            except StoreUnavailable as error:
                waiting[row.user_id], is_unavailable = one_line(error), True
                break  # each further attempt would wait as long
            except UserFacingError as error:
                waiting[row.user_id] = one_line(error)
        return PendingResult(new, completed, waiting, is_unavailable=is_unavailable)
    finally:
        lock.release()


def complete_action(row: PendingAction) -> bool:
    """Complete the action. Return False if a hold keeps data: then the action waits for its end.

    An action that was undone meanwhile is recorded, and not completed. Another process may complete the action at the same time, such as a command for
    the same user: then an error of this process does not count.
    """
    settle_undone([row.user_id])
    if not _is_pending(row):
        return True
    try:
        is_done = _complete(row)
    except UserFacingError:
        if _is_pending(row):
            raise
        return True
    if is_done:
        PendingAction.objects.filter(pk=row.pk).delete()
    return is_done


def _is_pending(row: PendingAction) -> bool:
    return PendingAction.objects.filter(pk=row.pk).exists()


def _complete(row: PendingAction) -> bool:
    """Do what the action asks for. Return False if a hold keeps data."""
    outcome = None
    match Kind(row.kind):
        case Kind.ERASE:
            outcome = erase(row.user_id)
        case Kind.ANONYMIZE if user_exists(row.user_id):
            outcome = anonymize(row.user_id)
        case Kind.OBJECT:
            finish_stop(row.user_id)
    return outcome is None or not outcome.has_held_data
