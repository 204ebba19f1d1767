"""The stores outside PostgreSQL, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID

from findme.core.errors import StoreUnavailable, one_line
from privacy.audit import OutcomeUnknown
from privacy.registry import Disposition, Effect, Store, registry


class DeletionUnconfirmed(OutcomeUnknown, StoreUnavailable):
    """A store did not answer when it was told to delete the person: it may have done so, or may still do it. ``reason`` is the store's own line."""

    def __init__(self, store: Store, error: StoreUnavailable) -> None:
        self.reason = one_line(error)
        super().__init__(
            f"{self.reason} PostgreSQL is as before; whether the {store.name} still has the person is not known: run it again,"
            " or manage.py sync_qdrant --once if they are to stay."
        )


@contextmanager
def store_sessions() -> Iterator[None]:
    """Hold every store, before anything is locked in PostgreSQL. Raises StoreUnavailable: nothing has happened then."""
    with ExitStack() as held:
        for store in registry.stores:
            held.enter_context(store.session())
        yield


def held_in_stores(user_id: UUID) -> list[Effect]:
    """What the stores hold of the person and would delete, for a preview."""
    return [Effect(store.contents, int(store.holds(user_id)), Disposition.DELETED) for store in registry.stores]


def remove_from_stores(user_id: UUID) -> list[Effect]:
    """Delete the person from every store, as the last step of the caller's transaction. Raises DeletionUnconfirmed or UserFacingError."""
    return [Effect(store.contents, int(_remove(store, user_id)), Disposition.DELETED) for store in registry.stores]


def _remove(store: Store, user_id: UUID) -> bool:
    try:
        return store.remove(user_id)
    except StoreUnavailable as error:
        raise DeletionUnconfirmed(store, error) from error
