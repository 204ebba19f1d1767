"""Carry out an approved erasure: the approval seals the plan and hides the user, a worker erases, and the answer waits for that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.postgres.functions import TransactionNow
from django.db import connection
from django.db.models import Max, Q
from django.db.models.functions import Now

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import UserFacingError, one_line
from privacy.actions import hiding
from privacy.actions.erase import erase
from privacy.actions.erasures import (
    FIRST,
    IN_ONE_TRANSACTION,
    State,
    Step,
    StopReason,
    WaitsFor,
    add_to_step,
    last_erasure,
    mark_waiting,
    open_steps,
    seal,
    sealed_erasure,
    stop,
)
from privacy.actions.notes import record_now
from privacy.actions.plan import plan_erasure
from privacy.actions.plan_preview import preview_plan
from privacy.actions.recording import is_recorded
from privacy.actions.superusers import check_removal, check_staff
from privacy.audit import Action, record
from privacy.ledger.entry import Kind as LedgerKind
from privacy.models import DataSubjectRequest, Erasure, PendingAction
from privacy.models.request_choices import Kind
from privacy.models.request_choices import State as RequestState
from privacy.registry import Effect
from privacy.requests.lifecycle import is_allowed
from privacy.requests.locking import require
from privacy.users import user_exists

ENDED = (State.ERASED, State.PURGED)


def is_erasure(request: DataSubjectRequest) -> bool:
    """Return whether the request is fulfilled by an erasure in FindMe. The data subject need not be a user."""
    return request.kind == Kind.ERASURE and request.user_id is not None


def needs_new_plan(request: DataSubjectRequest) -> bool:
    """Return whether an approved erasure must be approved again: its plan was stopped, or it has none and the user is still there."""
    if not is_erasure(request) or request.state != RequestState.APPROVED:
        return False
    found = last_erasure(request)
    return not is_fulfilled(request) if found is None else found.state == State.STOPPED


def preview_of_approval(request: DataSubjectRequest) -> list[Effect]:
    """Return what the erasure would do that can be approved now. An empty list: nothing can be approved, or the user is gone."""
    can_be_approved = is_allowed(request.state, RequestState.APPROVED) or needs_new_plan(request)
    if not is_erasure(request) or not can_be_approved or request.user_id is None or not user_exists(request.user_id):
        return []
    return preview_plan(request.user_id)


def has_open_erasure(request: DataSubjectRequest) -> bool:
    """Return whether the request has an approved plan that is not carried out yet."""
    if not is_erasure(request) or request.state != RequestState.APPROVED:
        return False
    found = last_erasure(request)
    return found is not None and found.state == State.SEALED


def seal_approved(request: DataSubjectRequest, actor_id: UUID | None) -> None:
    """Seal the plan and hide the user, in the transaction of the approval."""
    user_id = request.user_id
    assert user_id is not None
    user = get_user_model().objects.select_for_update().filter(pk=user_id).values("deleted_at").first()
    if user is not None:
        check_staff(user_id, actor_id)
        check_removal(user_id, actor_id)
    other = sealed_erasure(user_id)
    if other is not None:
        if other.request_id is not None or is_recorded(LedgerKind.ERASE, user_id):
            raise UserFacingError(
                f"The erasure {other.pk} of this user is already approved or begun: nothing was changed. Run manage.py process_requests"
            )
        stop(other, StopReason.FAILED)
    hides = user is not None and user["deleted_at"] is None
    was_hidden = Erasure.objects.filter(request=request, hid_user=True).exists()
    seal(user_id, plan_erasure(user_id), request=request, hid_user=hides or was_hidden)
    if hides:
        record(Action.SOFT_DELETE, user_id, actor_id=actor_id)
        get_user_model().objects.filter(pk=user_id).update(deleted_at=TransactionNow())


def remove_hidden(user_id: UUID) -> None:
    """Record that the user is hidden, and delete the user from the stores, after the approval is committed.

    ``process_requests`` and ``sync_qdrant`` do it if the ledger or a store is unavailable. What was deleted counts in the step ``point`` of the erasure.
    """
    record_now(user_id)
    effects, _ = hiding.remove_hidden(user_id)
    erasure = sealed_erasure(user_id)
    if erasure is not None:
        add_to_step(erasure, Step.POINT, sum(effect.count or 0 for effect in effects))


def stop_closed(request: DataSubjectRequest) -> None:
    """Stop the erasure of a request that is refused or withdrawn, and show the user again if the approval has hidden them."""
    if not is_erasure(request):
        return
    found = last_erasure(request)
    if found is None or found.state in ENDED:
        return
    if found.state == State.SEALED:
        if is_recorded(LedgerKind.ERASE, found.user):
            raise UserFacingError(
                f"The erasure of request {request.pk} has begun and cannot be stopped: nothing was changed. Run manage.py privacy_request answer"
                f" {request.pk}"
            )
        stop(found, StopReason.REQUEST_CLOSED)
    if found.hid_user:
        get_user_model().objects.filter(pk=found.user).update(deleted_at=None)


def record_shown(request: DataSubjectRequest) -> None:
    """Record that the user is shown again, after the end of the request is committed."""
    if is_erasure(request) and request.user_id is not None:
        record_now(request.user_id)


def is_fulfilled(request: DataSubjectRequest) -> bool:
    """Return whether the data subject can be answered: the user is erased, or only held data is left."""
    if not is_erasure(request):
        return True
    assert request.user_id is not None
    found = last_erasure(request)
    if found is not None and found.state == State.SEALED:
        waiting = open_steps(found, (*FIRST, *IN_ONE_TRANSACTION))
        return bool(waiting) and found.ledger_position is not None and all(step.waits_for == WaitsFor.HOLD for step in waiting)
    if found is not None and found.state in ENDED:
        return True
    return not user_exists(request.user_id) and not PendingAction.objects.filter(user_id=request.user_id, kind=LedgerKind.ERASE).exists()


def require_fulfilled(request: DataSubjectRequest) -> None:
    if not is_fulfilled(request):
        raise UserFacingError(
            f"The user of request {request.pk} is not erased yet: nothing was changed. Run manage.py privacy_request erase {request.pk}"
        )


def erase_request(request_id: UUID, *, actor_id: UUID | None = None) -> DataSubjectRequest:
    """Carry out the erasure of an approved request. Return the request; nothing happens if it is done.

    Raise UserFacingError if the request is no approved erasure of a user, and as ``erase`` does.
    """
    request = require(request_id)
    if not is_erasure(request) or request.state != RequestState.APPROVED:
        raise UserFacingError(
            f"Request {request_id} is no approved erasure of a user: nothing was changed. Run manage.py privacy_request show {request_id}"
        )
    found = last_erasure(request)
    if found is None or found.state == State.STOPPED:
        raise UserFacingError(
            f"Request {request_id} has no approved plan: nothing was changed. Run manage.py privacy_request approve {request_id}"
        )
    if found.state == State.SEALED:
        busy = UserFacingError(f"Another process erases the user of request {request_id}. Run manage.py privacy_request show {request_id}")
        with AdvisoryLock(connection, _lock_key(found)).held(1, lambda: busy):
            if sealed_erasure(found.user) is not None:
                erase(found.user, actor_id=actor_id)
    return request


def erase_approved(waiting: dict[UUID, str], *, retry_after: timedelta = timedelta(0)) -> int:
    """Carry out the approved erasures, and return the number of those that are done.

    ``waiting`` gets the reason by request. An erasure that another process carries out, or that waits for a hold, is skipped, and one that failed less
    than ``retry_after`` ago.
    """
    done = 0
    for erasure in list(_due(retry_after)):
        lock = AdvisoryLock(connection, _lock_key(erasure))
        if not lock.try_acquire():
            continue
        try:
            if Erasure.objects.filter(pk=erasure.pk, state=State.SEALED).exists():
                done += not erase(erasure.user).has_held_data
        except UserFacingError as error:
            assert erasure.request_id is not None
            waiting[erasure.request_id] = one_line(error)
        finally:
            lock.release()
    return done


def wait_for_ledger() -> None:
    """Record that the approved erasures wait for the ledger outside. They were not tried, because nothing can be recorded there now."""
    for erasure in _due(timedelta(0)):
        mark_waiting(erasure, IN_ONE_TRANSACTION, WaitsFor.LEDGER)


def _due(retry_after: timedelta) -> Iterator[Erasure]:
    found = Erasure.objects.filter(state=State.SEALED, request__state=RequestState.APPROVED)
    found = found.exclude(user_id__in=PendingAction.objects.filter(is_held=True).values("user_id"))
    checked = found.annotate(checked_at=Max("steps__checked_at"))
    return checked.filter(Q(checked_at=None) | Q(checked_at__lte=Now() - retry_after)).order_by("sealed_at").iterator()


def _lock_key(erasure: Erasure) -> int:
    return int.from_bytes(erasure.pk.bytes[:8], signed=True)
