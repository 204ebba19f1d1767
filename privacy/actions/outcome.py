"""What a privacy action did."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from privacy.registry import Effect


@dataclass(frozen=True, slots=True)
class PendingStore:
    """A store that may still hold the person, and why: a sentence."""

    store: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """``changed`` is False where PostgreSQL had it so already. Only a soft deletion can leave the person in a store."""

    user_id: UUID
    changed: bool
    effects: tuple[Effect, ...]
    pending_stores: tuple[PendingStore, ...] = ()
