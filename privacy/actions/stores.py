"""Operations on all stores outside PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from privacy.audit import OutcomeUnknown
from privacy.declarations import Disposition
from privacy.registry import Effect, Store, registry


class DeletionUnconfirmed(OutcomeUnknown, StoreUnavailable):
    """A store did not confirm the deletion of the user, or still has data: it may have deleted the user, or may still do so.

    ``reason`` is one line.
    """

    def __init__(self, store: Store, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{self.reason} PostgreSQL is unchanged, but the {store.name} may still have the user. Run this again,"
            " or leave it to manage.py process_requests."
        )


@contextmanager
def store_sessions() -> Iterator[None]:
    """Open a session with every store. Call this before any lock in PostgreSQL.

    Raise StoreUnavailable if a store cannot be reached. Then nothing has changed.
    """
    with ExitStack() as sessions:
        for store in registry.stores:
            sessions.enter_context(store.session())
        yield


@contextmanager
def batches_of_removals() -> Iterator[None]:
    """Keep what several calls of ``remove_many_from_stores`` can share, until the block ends."""
    with ExitStack() as kept:
        for store in registry.stores:
            kept.enter_context(store.batches())
        yield


def effects_in_stores(user_id: UUID) -> list[Effect]:
    """Return what the stores would delete, for a preview."""
    return [Effect(store.contents, int(store.holds(user_id)), Disposition.DELETED) for store in registry.stores]


def remove_from_stores(user_id: UUID) -> list[Effect]:
    """Delete the user from every store, as the last step of the caller's transaction.

    Raise DeletionUnconfirmed or UserFacingError.
    """
    return [Effect(store.contents, int(remove_verified(store, user_id)), Disposition.DELETED) for store in registry.stores]


def remove_many_from_stores(user_ids: Collection[UUID]) -> None:
    """Delete many users from every store and read the result back, as the last step of the caller's transaction. Raise StoreUnavailable."""
    for store in registry.stores:
        store.remove_many(user_ids)
        if places := store.remaining_many(user_ids):
            raise StoreUnavailable(
                f"Data of erased users is still in {', '.join(places)} after its deletion. Check the log of the {store.name}, then run it again."
            )


def remove_verified(store: Store, user_id: UUID) -> bool:
    """Delete the user from one store and read the result back, by id and by search. Return whether there was any data.

    Raise DeletionUnconfirmed, or the UserFacingError with which the store refused the deletion.
    """
    try:
        removed = store.remove(user_id)
    except StoreUnavailable as error:
        raise DeletionUnconfirmed(store, one_line(error)) from error
    try:
        places = store.remaining(user_id)
    except UserFacingError as error:
        raise DeletionUnconfirmed(store, one_line(error)) from error
    if places:
        found = f"Data of {str(user_id)!r} is still in {', '.join(places)} after its deletion. Check the log of the {store.name}."
        raise DeletionUnconfirmed(store, found)
    return removed
