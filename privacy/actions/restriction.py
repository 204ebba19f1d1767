"""Restrict the processing of a user's data (GDPR, article 18), and stop the matching of a user (articles 7 (3) and 21).

Both hide the user from searches and matches and delete the user's point. All data in PostgreSQL stays, except that an objection to the embedding
deletes the embedding. A trigger on ``users`` notes each change for the ledger, and the entry follows the commit, so these actions take effect even if the
ledger is unavailable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.postgres.functions import TransactionNow

from findme.core.errors import UserFacingError
from privacy.actions.hiding import effects_of_hiding, remove_hidden
from privacy.actions.locking import check_deferred_constraints, locked_user
from privacy.actions.notes import record_now
from privacy.actions.outcome import Outcome
from privacy.actions.recording import complete, counts_of, recorded
from privacy.audit import Action, done_or_unchanged, record, record_failure_of
from privacy.declarations import Disposition
from privacy.ledger.entry import Kind
from privacy.ledger.keys import subject_keys
from privacy.ledger.states import last_counts
from privacy.local_dates import day_of, today
from privacy.models import PendingAction
from privacy.models.request_choices import Processing
from privacy.registry import Effect, registry
from privacy.users import UserRow, require_user, unknown_user, user_exists, user_row


@dataclass(frozen=True, slots=True)
class _Switch:
    """A column of ``users`` that hides the user while it has a time, and the actions that set and clear it."""

    column: str
    on: Action
    off: Action

    def is_set(self, user: UserRow) -> bool:
        return getattr(user, self.column) is not None


RESTRICTION = _Switch("restricted_at", Action.RESTRICT, Action.LIFT_RESTRICTION)
OBJECTION = _Switch("objected_at", Action.OBJECT, Action.WITHDRAW_OBJECTION)


def preview_restriction(user_id: UUID) -> list[Effect]:
    """Return what ``restrict`` would do. Raise UserFacingError for an unknown user."""
    require_user(user_id)
    return [*_effects_of_hiding_rows(user_id), *effects_of_hiding(user_id)]


def restrict(user_id: UUID, *, actor_id: UUID | None = None) -> Outcome:
    """Set ``restricted_at`` and commit, then delete the user from the stores that are projections. All other data stays.

    An unavailable store is no error, as for ``soft_delete``. Raise UserFacingError for a user that is unknown or locked by another transaction.
    """
    return _switch_on(RESTRICTION, user_id, None, actor_id)


def lift_restriction(user_id: UUID, *, informed_on: date, actor_id: UUID | None = None) -> Outcome:
    """Clear ``restricted_at``. The sync then writes the point again. The user was informed on ``informed_on``, before this (article 18 (3)).

    Raise UserFacingError as ``restrict`` does, and for a day in the future or before the restriction.
    """
    return _switch_off(RESTRICTION, user_id, informed_on, actor_id)


def preview_stop(user_id: UUID, processing: Processing) -> list[Effect]:
    """Return what ``stop_matching`` would do. Raise UserFacingError for an unknown user."""
    require_user(user_id)
    in_postgresql = [effect for owner in registry.owners for effect in owner.after_stop(user_id, processing)]
    return [*in_postgresql, *effects_of_hiding(user_id)]


def stop_matching(user_id: UUID, processing: Processing = Processing.MATCHING, *, actor_id: UUID | None = None) -> Outcome:
    """Set ``objected_at`` and commit, then delete the user from the stores that are projections. The account works otherwise.

    With ``Processing.EMBEDDING``, also delete the embedding: a new one can only be written after ``resume_matching``. The ledger has the number of
    deleted embeddings before, so that a replay deletes them again. Raise as ``restrict`` does, and then also as ``recorded`` does.
    """
    if processing != Processing.EMBEDDING:
        return _switch_on(OBJECTION, user_id, processing, actor_id)
    with record_failure_of(OBJECTION.on, user_id, actor_id=actor_id):
        require_user(user_id)
        counts = counts_of_stop(user_id, processing)
        is_new = bool(counts) and not last_counts(user_id, Kind.OBJECT, subject_keys())
        with recorded(Kind.OBJECT, user_id, counts, even_again=is_new):
            return _switch_on(OBJECTION, user_id, processing, actor_id)


def finish_stop(user_id: UUID) -> None:
    """Complete a ``stop_matching`` that is in the ledger, if its process was killed before it deleted the embedding. Otherwise do nothing."""
    is_undone = PendingAction.objects.filter(user_id=user_id, kind=Kind.UNDO_OBJECT).exists()
    if not is_undone and user_exists(user_id) and last_counts(user_id, Kind.OBJECT, subject_keys()):
        _switch_on(OBJECTION, user_id, Processing.EMBEDDING, None)


def resume_matching(user_id: UUID, *, actor_id: UUID | None = None) -> Outcome:
    """Clear ``objected_at``, after the user withdrew the objection or gave the consent again. Raise as ``restrict`` does."""
    return _switch_off(OBJECTION, user_id, None, actor_id)


def counts_of_stop(user_id: UUID, processing: Processing) -> dict[str, int]:
    """Return the number of objects that ``stop_matching`` would delete in PostgreSQL, by section of their owner."""
    return counts_of(
        (owner.section, [effect for effect in owner.after_stop(user_id, processing) if effect.disposition is Disposition.DELETED])
        for owner in registry.owners
    )


def preview_lifting(user_id: UUID) -> list[Effect]:
    """Return what ``lift_restriction`` would do. Raise UserFacingError for an unknown user."""
    return _effects_of_showing(user_row(user_id), RESTRICTION)


def preview_resumption(user_id: UUID) -> list[Effect]:
    """Return what ``resume_matching`` would do. Raise UserFacingError for an unknown user."""
    return _effects_of_showing(user_row(user_id), OBJECTION)


def _switch_on(switch: _Switch, user_id: UUID, processing: Processing | None, actor_id: UUID | None) -> Outcome:
    with record_failure_of(switch.on, user_id, actor_id=actor_id), locked_user(user_id) as user:
        if user is None:
            raise unknown_user(user_id)
        changed = not switch.is_set(user)
        record(switch.on, user_id, done_or_unchanged(changed), actor_id=actor_id)
        if processing is None:
            effects = _effects_of_hiding_rows(user_id)
        else:
            effects = [effect for owner in registry.owners for effect in owner.after_stop(user_id, processing)]
            for owner in registry.owners:
                owner.stop(user_id, processing)
        if changed:
            get_user_model().objects.filter(pk=user_id).update(**{switch.column: TransactionNow()})
        if processing == Processing.EMBEDDING:
            complete(Kind.OBJECT, user_id)
        check_deferred_constraints()
    record_now(user_id)
    in_stores, pending_stores = remove_hidden(user_id)
    return Outcome(user_id, changed, (*effects, *in_stores), tuple(pending_stores))


def _switch_off(switch: _Switch, user_id: UUID, informed_on: date | None, actor_id: UUID | None) -> Outcome:
    with record_failure_of(switch.off, user_id, actor_id=actor_id), locked_user(user_id) as user:
        if user is None:
            raise unknown_user(user_id)
        changed = switch.is_set(user)
        if informed_on is not None and changed:
            _check_informed_on(user, informed_on)
        record(switch.off, user_id, done_or_unchanged(changed), actor_id=actor_id, informed_on=informed_on if changed else None)
        if changed:
            get_user_model().objects.filter(pk=user_id).update(**{switch.column: None})
    record_now(user_id)
    return Outcome(user_id, changed, tuple(_effects_of_showing(user, switch)))


def _check_informed_on(user: UserRow, informed_on: date) -> None:
    assert user.restricted_at is not None
    first, last = day_of(user.restricted_at), today()
    if not first <= informed_on <= last:
        raise UserFacingError(
            f"The user {str(user.user_id)!r} was restricted on {first}, and today is {last}: nothing was changed. The user must be informed in"
            f" between, before the restriction is lifted (article 18 (3)). Correct the date {informed_on}."
        )


def _effects_of_hiding_rows(user_id: UUID) -> list[Effect]:
    return [effect for owner in registry.owners for effect in owner.after_soft_deletion(user_id)]


def _effects_of_showing(user: UserRow, switch: _Switch) -> list[Effect]:
    """Return the line for the profile, unless something else still hides the user."""
    shown = replace(user, restricted_at=None) if switch is RESTRICTION else replace(user, objected_at=None)
    return [Effect("profiles", 1, Disposition.HIDDEN if shown.is_hidden else Disposition.SHOWN)]
