"""Delete a user softly or for good (the guide, "Right to be Forgotten"; GDPR, article 17).

A soft deletion hides the user from all other users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.postgres.functions import TransactionNow

from findme.core.db.dates import END_OF_TIMES
from findme.core.errors import UserFacingError
from privacy import audit
from privacy.actions.around_holds import effects_of_erasure, erase_all_but_held
from privacy.actions.deletion import delete_users
from privacy.actions.erase_files import delete_files, require_file_stores, stored_files
from privacy.actions.erasures import (
    IN_ONE_TRANSACTION,
    Step,
    WaitsFor,
    add_to_step,
    finish,
    mark_done,
    mark_waiting,
    note_position,
    sealed_erasure,
)
from privacy.actions.followed import begin, followed, unfinished_after_files
from privacy.actions.hiding import effects_of_hiding, remove_hidden
from privacy.actions.holds import active_holds
from privacy.actions.locking import check_deferred_constraints, locked_user
from privacy.actions.notes import record_now, settle_undone
from privacy.actions.outcome import Outcome
from privacy.actions.recording import Recording, complete, counts_of, recorded
from privacy.actions.stores import effects_in_stores, remove_from_stores, store_sessions
from privacy.actions.superusers import check_removal
from privacy.audit import Action, done_or_unchanged, record, record_failure_of
from privacy.declarations import Disposition
from privacy.ledger.entry import Kind
from privacy.models import Erasure, PendingAction
from privacy.registry import Effect, PersonalDataOwner, registry
from privacy.users import require_user, unknown_user, user_exists


def preview_soft_deletion(user_id: UUID) -> list[Effect]:
    """Return what ``soft_delete`` would do, with an unknown count for a store that is unavailable.

    Raise UserFacingError for an unknown user.
    """
    require_user(user_id)
    in_postgresql = [effect for owner in registry.owners for effect in owner.after_soft_deletion(user_id)]
    return [*in_postgresql, *effects_of_hiding(user_id)]


def soft_delete(user_id: UUID, *, actor_id: UUID | None = None) -> Outcome:
    """Set ``deleted_at`` and commit, then record it and delete the user from the stores. After the commit, no search shows the user.

    An unavailable ledger or store is not an error. It is listed in ``pending_stores``, and the next call or ``sync_qdrant`` deletes the user there. Raise
    UserFacingError for a user that is unknown or locked by another transaction, and as ``check_removal`` does.
    """
    with record_failure_of(Action.SOFT_DELETE, user_id, actor_id=actor_id), locked_user(user_id) as user:
        if user is None:
            raise unknown_user(user_id)
        check_removal(user_id, actor_id)
        record(Action.SOFT_DELETE, user_id, done_or_unchanged(user.deleted_at is None), actor_id=actor_id)
        in_postgresql = [effect for owner in registry.owners for effect in owner.after_soft_deletion(user_id)]
        if user.deleted_at is None:
            get_user_model().objects.filter(pk=user_id).update(deleted_at=TransactionNow())
    record_now(user_id)
    in_stores, pending_stores = remove_hidden(user_id)
    return Outcome(user_id, user.deleted_at is None, (*in_postgresql, *in_stores), tuple(pending_stores))


def preview_erasure(user_id: UUID) -> list[Effect]:
    """Return what ``erase`` would do.

    Raise UserFacingError if neither PostgreSQL nor a store has the user, StoreUnavailable if a store cannot be reached.
    """
    with store_sessions():
        in_stores = effects_in_stores(user_id)
    if user_exists(user_id):
        return [*effects_of_erasure(user_id), *in_stores]
    return _leftovers(user_id, in_stores)


def erase(user_id: UUID, *, actor_id: UUID | None = None) -> Outcome:
    """Delete the user's files, rows and the user in every store, by the sealed plan, or change nothing in PostgreSQL.

    If no plan is sealed, the current one is. What a hold keeps stays, with the user's row, and the action stays pending until the hold ends. The order
    and the failures are those of ``anonymize``; the files are deleted before the rows. For a user that PostgreSQL no longer has, the data in the stores is
    deleted. Raise UserFacingError for a user that no store has or that another transaction has locked, and as ``check_removal`` does. Raise PlanRefused
    if an approved plan has changed or is too old. Raise StoreUnavailable, FilesRemain and
    DeletionUnconfirmed as ``anonymize`` does.
    """
    with record_failure_of(Action.ERASE, user_id, actor_id=actor_id), followed(user_id) as progress, store_sessions():
        progress.waits_for = WaitsFor.LEDGER
        settle_undone([user_id])
        progress.waits_for = WaitsFor.STORE
        is_known = user_exists(user_id)
        if is_known:
            check_removal(user_id, actor_id)
            require_file_stores(user_id)
        elif sealed_erasure(user_id) is None and not PendingAction.objects.filter(user_id=user_id, kind=Kind.ERASE).exists():
            _leftovers(user_id, effects_in_stores(user_id))
        erasure = begin(user_id, is_known=is_known)
        effects = [(owner, owner.after_erasure(user_id)) for owner in registry.owners] if is_known else []
        counts = counts_of((owner.section, of_owner) for owner, of_owner in effects)
        progress.waits_for = WaitsFor.LEDGER
        with recorded(Kind.ERASE, user_id, counts, bytes(erasure.plan_digest)) as recording:
            progress.waits_for = WaitsFor.STORE
            if not is_known:
                # This entry is committed first: the store deletes its data even if this process is killed before its own commit.
                record(Action.ERASE, user_id, audit.Outcome.STARTED, actor_id=actor_id)
            with unfinished_after_files(recording):
                return _erase(erasure, _erase_files(erasure, recording), effects, actor_id, is_known=is_known)


def _erase_files(erasure: Erasure, recording: Recording) -> set[str]:
    """Delete the files without a hold, and return their addresses. From the first one on, the erasure cannot be undone."""
    recording.is_final = any(stored_files(erasure.user))
    addresses, deleted = delete_files(erasure.user)
    if active_holds(erasure.user):
        mark_waiting(erasure, [Step.FILES], WaitsFor.HOLD)
        add_to_step(erasure, Step.FILES, deleted)
    else:
        mark_done(erasure, Step.FILES, deleted)
    return addresses


def _erase(
    erasure: Erasure,
    addresses: set[str],
    effects: Sequence[tuple[PersonalDataOwner, list[Effect]]],
    actor_id: UUID | None,
    *,
    is_known: bool,
) -> Outcome:
    user_id = erasure.user
    with locked_user(user_id) as user:
        if user is not None and not is_known:
            raise UserFacingError(f"The user {str(user_id)!r} was inserted again meanwhile: nothing was changed. Run it again.")
        if user is None:
            record(Action.ERASE, user_id, actor_id=actor_id)
            is_pending = PendingAction.objects.filter(user_id=user_id, kind=Kind.ERASE).exists()
            for owner in registry.owners:
                owner.erase(user_id)
            complete(Kind.ERASE, user_id)
            in_stores = remove_from_stores(user_id)
            finish(erasure, {Step.POINT: sum(effect.count or 0 for effect in in_stores)})
            is_expected = is_pending or erasure.request_id is not None
            return Outcome(user_id, changed=False, effects=tuple(in_stores if is_expected else _leftovers(user_id, in_stores)))
        check_removal(user_id, actor_id)
        delete_files(user_id, known=addresses)  # of rows that were added meanwhile
        if active_holds(user_id):
            outcome = erase_all_but_held(user_id, actor_id=actor_id)
            note_position(erasure)
            _record_held(erasure, _counts_by_step(effects, []) if outcome.changed else Counter(), outcome)
            check_deferred_constraints()
            return outcome
        for owner in registry.owners:
            owner.erase(user_id)
        delete_users([user_id])
        complete(Kind.ERASE, user_id)
        record(Action.ERASE, user_id, actor_id=actor_id)
        check_deferred_constraints()
        in_stores = remove_from_stores(user_id)
        finish(erasure, _counts_by_step(effects, in_stores))
        return Outcome(user_id, changed=True, effects=(*(effect for _, of_owner in effects for effect in of_owner), *in_stores))


def _record_held(erasure: Erasure, counts: Counter[Step], outcome: Outcome) -> None:
    """Record the steps that are done, and that the rows wait for the end of the holds."""
    held = sum(effect.count or 0 for effect in outcome.effects if effect.disposition is Disposition.HELD)
    for step in (Step.LOG_INS, Step.SESSIONS):
        mark_done(erasure, step, counts[step])
    mark_done(erasure, Step.POINT, sum(effect.count or 0 for effect in outcome.effects[-len(list(registry.stores)) :]))
    ends = [hold.until for hold in active_holds(erasure.user)]
    until = None if None in ends else _end_of(max(day for day in ends if day))
    mark_waiting(erasure, IN_ONE_TRANSACTION, WaitsFor.HOLD, until, count=max(counts[Step.ROWS] - held, 0))


def _end_of(day: date) -> datetime:
    """Return when the day is over in every time zone, or the last time that a column takes."""
    return min(datetime.combine(day + timedelta(days=1), time(12), UTC), END_OF_TIMES - timedelta(microseconds=1))


def _counts_by_step(effects: Sequence[tuple[PersonalDataOwner, list[Effect]]], in_stores: Sequence[Effect]) -> Counter[Step]:
    counts = Counter({Step.POINT: sum(effect.count or 0 for effect in in_stores)})
    for owner, effect in ((owner, effect) for owner, of_owner in effects for effect in of_owner):
        if effect.disposition is not Disposition.KEPT:
            counts[Step(owner.erasure_steps.get(effect.what, Step.ROWS))] += effect.count or 0
    return counts


def _leftovers(user_id: UUID, in_stores: list[Effect]) -> list[Effect]:
    if not any(effect.count for effect in in_stores):
        names = "".join(f" nor the {store.name}" for store in registry.stores)
        raise UserFacingError(f"Neither PostgreSQL{names} has a user with the id {str(user_id)!r}.")
    return in_stores
