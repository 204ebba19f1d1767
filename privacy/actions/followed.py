"""Begin an erasure by its plan, and record what an erasure that failed waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from privacy.actions.erase_files import FilesRemain
from privacy.actions.erasures import (
    FIRST,
    IN_ONE_TRANSACTION,
    PlanRefused,
    StopReason,
    WaitsFor,
    mark_waiting,
    require_plan,
    seal,
    sealed_erasure,
    stop,
)
from privacy.actions.locking import RowsLocked
from privacy.actions.plan import plan_erasure
from privacy.actions.recording import Recording, is_recorded
from privacy.audit import OutcomeUnknown
from privacy.ledger.entry import Kind
from privacy.models import Erasure


class ErasureUnfinished(OutcomeUnknown):
    """The user's files are deleted, and the rows are not: the erasure, or the anonymization, continues."""


@dataclass(slots=True)
class Progress:
    """What an erasure waits for if a store is unavailable now: one of the stores of users, or the ledger."""

    waits_for: WaitsFor = WaitsFor.STORE


def begin(user_id: UUID, *, is_known: bool) -> Erasure:
    """Return the sealed erasure of the user, or seal the current plan.

    A plan that an officer approved is compared before the erasure begins. Afterwards it is carried out to its end, whatever has changed. Without a
    request there was no approval, and a plan that was left by a killed command is replaced. Raise PlanRefused.
    """
    plan, erasure = plan_erasure(user_id), sealed_erasure(user_id)
    if erasure is not None and is_known and not is_recorded(Kind.ERASE, user_id):
        if erasure.request_id is not None:
            require_plan(erasure, plan)
        elif plan.differences(erasure):
            stop(erasure, StopReason.PLAN_CHANGED)
            erasure = None
    return erasure or seal(user_id, plan)


@contextmanager
def followed(user_id: UUID) -> Iterator[Progress]:
    """If the block raises, record what the sealed erasure waits for. One that has erased nothing and has no request is stopped."""
    progress = Progress()
    try:
        yield progress
    except PlanRefused:
        raise
    except BaseException as error:
        with suppress(DatabaseError, InterfaceError, UserFacingError):
            _note(user_id, error, progress)
        raise


def _note(user_id: UUID, error: BaseException, progress: Progress) -> None:
    erasure = sealed_erasure(user_id)
    if erasure is None:
        return
    if erasure.request_id is None and not is_recorded(Kind.ERASE, user_id):
        stop(erasure, StopReason.FAILED)
    elif isinstance(error, FilesRemain):
        mark_waiting(erasure, FIRST, WaitsFor.FILE_STORE)
    elif isinstance(error, StoreUnavailable):
        mark_waiting(erasure, IN_ONE_TRANSACTION, progress.waits_for)
    elif isinstance(error, Exception):
        is_locked = isinstance(error, RowsLocked) or isinstance(error.__cause__, RowsLocked)
        mark_waiting(erasure, IN_ONE_TRANSACTION, WaitsFor.LOCK if is_locked else WaitsFor.OPERATOR)


@contextmanager
def unfinished_after_files(recording: Recording) -> Iterator[None]:
    """Translate an error after files were deleted: something was changed, and the action continues."""
    try:
        yield
    except OutcomeUnknown:
        raise
    except UserFacingError as error:
        if not recording.is_final:
            raise
        raise ErasureUnfinished(
            f"{one_line(error)} Files of the user are deleted already, so the action continues: run this again, or leave it to"
            " manage.py process_requests."
        ) from error
