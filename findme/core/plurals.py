"""Numbers with their nouns, and the verbs that follow: ``1 point``, ``2,000 points``, ``0 people are``."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return the number and its noun. ``many`` is the plural, by default ``one`` with an s."""
    return f"{number:,} {plural(number, one, many)}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return the form that goes with the number."""
    return one if number == 1 else many or f"{one}s"
