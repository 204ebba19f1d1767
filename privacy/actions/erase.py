"""Deleting a person: softly, so that nobody sees them any more, or for good (the guide, "Right to be Forgotten"; GDPR, article 17)."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.postgres.functions import TransactionNow
from django.db import DatabaseError, connection

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from privacy import audit
from privacy.actions.locking import check_deferred_constraints, person_locked
from privacy.actions.outcome import Outcome, PendingStore
from privacy.actions.stores import held_in_stores, remove_from_stores, store_sessions
from privacy.actions.superusers import check_removal
from privacy.audit import Action, done_or_unchanged, failure_recorded, record
from privacy.people import exists, require_person, unknown
from privacy.registry import Disposition, Effect, Store, registry


def preview_soft_deletion(user_id: UUID) -> list[Effect]:
    """What ``soft_delete`` would do now; a store that cannot be reached counts as unknown. Raises UserFacingError for somebody unknown."""
    require_person(user_id)
    in_postgresql = [effect for owner in registry.owners for effect in owner.after_soft_deletion(user_id)]
    return [*in_postgresql, *(_held_in(store, user_id) for store in registry.stores)]


def soft_delete(user_id: UUID, *, actor_id: UUID | None = None) -> Outcome:
    """Set ``deleted_at`` and commit: from then on no search shows the person. Then delete them from the stores.

    A store that cannot be told stands in ``pending_stores`` and is no error; the next call, or ``sync_qdrant``, does it. Raises
    UserFacingError for a user who is unknown or held by another transaction, and as ``check_removal`` does.
    """
    with failure_recorded(Action.SOFT_DELETE, user_id, actor_id=actor_id), person_locked(user_id) as person:
        if person is None:
            raise unknown(user_id)
        check_removal(user_id, actor_id)
        record(Action.SOFT_DELETE, user_id, done_or_unchanged(person.deleted_at is None), actor_id=actor_id)
        in_postgresql = [effect for owner in registry.owners for effect in owner.after_soft_deletion(user_id)]
        if person.deleted_at is None:
            get_user_model().objects.filter(pk=user_id).update(deleted_at=TransactionNow())
    in_stores, pending_stores = _withdraw(user_id)
    return Outcome(user_id, person.deleted_at is None, (*in_postgresql, *in_stores), tuple(pending_stores))


def preview_erasure(user_id: UUID) -> list[Effect]:
    """What ``erase`` would do now. Raises UserFacingError for somebody whom neither PostgreSQL nor a store knows, StoreUnavailable."""
    with store_sessions():
        in_stores = held_in_stores(user_id)
    if exists(user_id):
        return [*_taken_along(user_id), *in_stores]
    return _leftovers(user_id, in_stores)


def erase(user_id: UUID, *, actor_id: UUID | None = None) -> Outcome:
    """Delete the person's row with all that hangs on it, and delete them from every store; or change nothing in PostgreSQL.

    In the order of ``anonymize``, with its failures. Of somebody whom PostgreSQL no longer has, what a store still holds is deleted.
    Raises UserFacingError for a user whom neither knows, or who is held by another transaction, and as ``check_removal`` does;
    StoreUnavailable and DeletionUnconfirmed.
    """
    with failure_recorded(Action.ERASE, user_id, actor_id=actor_id), store_sessions():
        if not exists(user_id):
            # Committed before: what only a store has is removed, even if this process is killed before its own commit.
            record(Action.ERASE, user_id, audit.Outcome.STARTED, actor_id=actor_id)
        return _erase(user_id, actor_id)


def _erase(user_id: UUID, actor_id: UUID | None) -> Outcome:
    with person_locked(user_id) as person:
        if person is None:
            record(Action.ERASE, user_id, actor_id=actor_id)
            leftovers = _leftovers(user_id, remove_from_stores(user_id))
            return Outcome(user_id, changed=False, effects=tuple(leftovers))
        check_removal(user_id, actor_id)
        in_postgresql = _taken_along(user_id)
        for owner in registry.owners:
            owner.erase(user_id)
        _delete_row(user_id)
        record(Action.ERASE, user_id, actor_id=actor_id)
        check_deferred_constraints()
        return Outcome(user_id, changed=True, effects=(*in_postgresql, *remove_from_stores(user_id)))


def _taken_along(user_id: UUID) -> list[Effect]:
    return [effect for owner in registry.owners for effect in owner.after_erasure(user_id)]


def _leftovers(user_id: UUID, in_stores: list[Effect]) -> list[Effect]:
    if not any(effect.count for effect in in_stores):
        names = "".join(f" nor the {store.name}" for store in registry.stores)
        raise UserFacingError(f"Neither PostgreSQL{names} knows anybody with the id {str(user_id)!r}.")
    return in_stores


def _delete_row(user_id: UUID) -> None:
    """The guide's statement: every cascade is the database's."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {connection.ops.quote_name(get_user_model()._meta.db_table)} WHERE id = %s", [user_id])  # noqa: S608


def _held_in(store: Store, user_id: UUID) -> Effect:
    try:
        with store.session():
            return Effect(store.contents, int(store.holds(user_id)), Disposition.DELETED)
    except StoreUnavailable:
        return Effect(store.contents, None, Disposition.DELETED)


def _withdraw(user_id: UUID) -> tuple[list[Effect], list[PendingStore]]:
    """Delete the hidden person from each store that can be told; the effects, and why the others could not be."""
    done: list[Effect] = []
    pending_stores: list[PendingStore] = []
    for store in registry.stores:
        try:
            done.append(_withdraw_from(store, user_id))
        except (UserFacingError, DatabaseError) as error:
            pending_stores.append(PendingStore(store.name, one_line(error)))
    return done, pending_stores


def _withdraw_from(store: Store, user_id: UUID) -> Effect:
    """Under the row's lock, and not if somebody brought the person back in the meantime: their point is due then."""
    with store.session(), person_locked(user_id) as person:
        is_back = person is not None and person.deleted_at is None
        removed = not is_back and store.remove(user_id)
    return Effect(store.contents, int(removed), Disposition.DELETED)
