"""The stores outside PostgreSQL, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID

from privacy.registry import Consequence, Fate, registry


@contextmanager
def stores_reached() -> Iterator[None]:
    """Hold every store, before anything is locked in PostgreSQL. Raises StoreUnavailable: nothing has happened then."""
    with ExitStack() as held:
        for store in registry.stores:
            held.enter_context(store.reached())
        yield


def held_in_stores(user_id: UUID) -> list[Consequence]:
    """What the stores hold of the person and would delete, for a preview."""
    return [Consequence(store.contents, int(store.holds(user_id)), Fate.DELETED) for store in registry.stores]


def remove_from_stores(user_id: UUID) -> list[Consequence]:
    """Delete the person from every store, as the last step of the caller's transaction. Raises StoreUnavailable or NotDone."""
    return [Consequence(store.contents, int(store.remove(user_id)), Fate.DELETED) for store in registry.stores]
