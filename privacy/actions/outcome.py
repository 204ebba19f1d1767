"""Result of a privacy action."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from privacy.declarations import Disposition
from privacy.registry import Effect


@dataclass(frozen=True, slots=True)
class PendingStore:
    """A store that may still have the user, and the reason as a sentence."""

    store: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result for one user. ``changed`` is False if PostgreSQL already had this state.

    Only a soft deletion can leave the user in a store.
    """

    user_id: UUID
    changed: bool
    effects: tuple[Effect, ...]
    pending_stores: tuple[PendingStore, ...] = ()

    @property
    def has_held_data(self) -> bool:
        """Return whether a hold keeps data. ``process_pending`` completes the action when the hold ends."""
        return any(effect.disposition is Disposition.HELD for effect in self.effects)
