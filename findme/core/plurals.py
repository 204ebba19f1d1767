"""Numbers with the right form of a noun or verb: ``1 point``, ``2,000 points``, ``0 users are``."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return the number and its noun. ``many`` is the plural, by default ``one`` with an s."""
    return f"{number:,} {plural(number, one, many)}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return the singular or the plural form for the number. ``many`` is by default ``one`` with an s."""
    return one if number == 1 else many or f"{one}s"
