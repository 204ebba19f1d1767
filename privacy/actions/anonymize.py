"""Anonymizing: the person goes, what statistics need stays (the guide, "Data Anonymization"; GDPR, article 17)."""

from __future__ import annotations

from uuid import UUID

from privacy.actions.locking import check_deferred_constraints, person_locked
from privacy.actions.outcome import Outcome
from privacy.actions.stores import held_in_stores, remove_from_stores, store_sessions
from privacy.actions.superusers import check_removal
from privacy.audit import Action, done_or_unchanged, failure_recorded, record
from privacy.people import require_person, unknown
from privacy.registry import Effect, registry


def preview_anonymization(user_id: UUID) -> list[Effect]:
    """What ``anonymize`` would do now. Raises UserFacingError for somebody unknown, StoreUnavailable where it could not be done."""
    require_person(user_id)
    with store_sessions():
        return [*_in_postgresql(user_id), *held_in_stores(user_id)]


def anonymize(user_id: UUID, *, actor_id: UUID | None = None) -> Outcome:
    """Clear what identifies the person in every table and delete them from every store, or change nothing in PostgreSQL.

    The stores are reached before the row is locked, and told as the last step before the commit: where it ends in between, the person is as
    before but for the point, which ``sync_qdrant`` brings back. A second time it clears what was written since. Raises UserFacingError for
    somebody unknown or held by another transaction, and as ``check_removal`` does, StoreUnavailable where a store cannot be reached and
    nothing has happened, DeletionUnconfirmed where one does not answer in the end.
    """
    with failure_recorded(Action.ANONYMIZE, user_id, actor_id=actor_id), store_sessions(), person_locked(user_id) as person:
        if person is None:
            raise unknown(user_id)
        check_removal(user_id, actor_id)
        in_postgresql = _in_postgresql(user_id)
        for owner in registry.owners:
            owner.anonymize(user_id)
        record(Action.ANONYMIZE, user_id, done_or_unchanged(not person.is_anonymized), actor_id=actor_id)
        check_deferred_constraints()
        return Outcome(user_id, not person.is_anonymized, (*in_postgresql, *remove_from_stores(user_id)))


def _in_postgresql(user_id: UUID) -> list[Effect]:
    return [effect for owner in registry.owners for effect in owner.after_anonymization(user_id)]
