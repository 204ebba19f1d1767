"""Names of apps and models as arguments."""

from __future__ import annotations

from findme.core.errors import UserFacingError


def require_label(label: str) -> None:
    """Raise UserFacingError for a text that Django cannot split into an app and a model."""
    if label.count(".") > 1 or not label.strip("."):
        raise UserFacingError(f"{label!r} names no app and no model: nothing was done. Write APP or APP.MODEL.")
