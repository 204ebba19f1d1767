"""Operations on all stores outside PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID

from findme.core.errors import StoreUnavailable, one_line
from privacy.audit import OutcomeUnknown
from privacy.declarations import Disposition
from privacy.registry import Effect, Store, registry


class DeletionUnconfirmed(OutcomeUnknown, StoreUnavailable):
    """A store did not confirm the deletion of the user: it may have deleted the user, or may still do so.

    ``reason`` is the error line of the store.
    """

    def __init__(self, store: Store, error: StoreUnavailable) -> None:
        self.reason = one_line(error)
        super().__init__(
            f"{self.reason} PostgreSQL is unchanged, but the {store.name} may still have the user. Run this again,"
            " or run manage.py sync_qdrant --once to keep the user."
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


def effects_in_stores(user_id: UUID) -> list[Effect]:
    """Return what the stores would delete, for a preview."""
    return [Effect(store.contents, int(store.holds(user_id)), Disposition.DELETED) for store in registry.stores]


def remove_from_stores(user_id: UUID) -> list[Effect]:
    """Delete the user from every store, as the last step of the caller's transaction.

    Raise DeletionUnconfirmed or UserFacingError.
    """
    return [Effect(store.contents, int(_remove(store, user_id)), Disposition.DELETED) for store in registry.stores]


def _remove(store: Store, user_id: UUID) -> bool:
    try:
        return store.remove(user_id)
    except StoreUnavailable as error:
        raise DeletionUnconfirmed(store, error) from error
