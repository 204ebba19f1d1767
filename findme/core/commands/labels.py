"""Names of apps and models as arguments."""

from __future__ import annotations

from findme.core.errors import NotDone


def require_label(label: str) -> None:
    """Raise NotDone for a text that Django cannot split into an app and a model."""
    if label.count(".") > 1 or not label.strip("."):
        raise NotDone(f"{label!r} names no app and no model: nothing was done. Write APP or APP.MODEL.")
