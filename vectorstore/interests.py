"""What one interest of a person may be."""

from __future__ import annotations

import re

from vectorstore.shortened import shortened

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What a text in PostgreSQL cannot hold: NUL, and half of a surrogate pair."""


def interest(value: object) -> str:
    """A text with something in it that PostgreSQL can keep. Raises ValueError with the reason."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"an interest is a text with something in it, and not {shortened(value)}")
    if UNSTORABLE.search(value):
        raise ValueError(f"an interest has a character that PostgreSQL cannot keep: {shortened(value)}")
    return value
