"""How many points a command may change by itself."""

from __future__ import annotations

FEWEST = 100
SHARE = 0.05


def allowed_changes(points: int, max_changes: int | None) -> int:
    """MAX_CHANGES, by default the greater of 100 and 5 % of the POINTS: more than that is no drift but an accident, which somebody should look at."""
    return max(FEWEST, int(SHARE * points)) if max_changes is None else max_changes
