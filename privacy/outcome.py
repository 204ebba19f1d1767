"""What a privacy action did."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from privacy.registry import Consequence


@dataclass(frozen=True, slots=True)
class Outcome:
    """``changed`` is False where PostgreSQL had it so already. ``left_in`` has a line for each store that could not be told yet, and why."""

    user_id: UUID
    changed: bool
    consequences: tuple[Consequence, ...]
    left_in: tuple[str, ...] = ()
