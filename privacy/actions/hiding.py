"""Remove a user who is hidden in PostgreSQL from the stores outside: after a soft deletion, a restriction or an objection.

PostgreSQL decides first, so no search of FindMe shows the user. An unavailable store is no error: the sync removes the user later.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from django.db import DatabaseError

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from privacy.actions.locking import locked_user
from privacy.actions.outcome import PendingStore
from privacy.actions.stores import DeletionUnconfirmed, remove_verified
from privacy.declarations import Disposition
from privacy.registry import Effect, Store, registry


class _OnlyCopy(UserFacingError):
    """The store has data of a restricted user that PostgreSQL does not have. The user has a right that it stays (article 18)."""


def effects_of_hiding(user_id: UUID) -> list[Effect]:
    """Return what ``remove_hidden`` would do, with an unknown count for a store that is unavailable. Other stores keep the user."""
    return [_effect_in(store, user_id) for store in _projections()]


def remove_hidden(user_id: UUID) -> tuple[list[Effect], list[PendingStore]]:
    """Delete the hidden user from each reachable store that is a projection. Return the effects, and the other stores with their errors."""
    done: list[Effect] = []
    pending_stores: list[PendingStore] = []
    for store in _projections():
        try:
            done.append(_remove_from(store, user_id))
        except DeletionUnconfirmed as error:
            pending_stores.append(PendingStore(store.name, error.reason))
        except (UserFacingError, DatabaseError) as error:
            pending_stores.append(PendingStore(store.name, one_line(error)))
    return done, pending_stores


def _projections() -> Iterator[Store]:
    return (store for store in registry.stores if store.is_projection)


def _effect_in(store: Store, user_id: UUID) -> Effect:
    try:
        with store.session():
            return Effect(store.contents, int(store.holds(user_id)), Disposition.DELETED)
    except StoreUnavailable:
        return Effect(store.contents, None, Disposition.DELETED)


def _remove_from(store: Store, user_id: UUID) -> Effect:
    """Delete the user under the row's lock, unless the user was shown again: then the user needs the data in the store."""
    with store.session(), locked_user(user_id) as user:
        is_hidden = user is None or user.is_hidden
        if user is not None and user.is_stored_only and store.has_only_copy(user_id):
            raise _OnlyCopy(f"It has the only copy of data of {str(user_id)!r}, which must stay. {store.copy_command}")
        removed = is_hidden and remove_verified(store, user_id)
    return Effect(store.contents, int(removed), Disposition.DELETED)
