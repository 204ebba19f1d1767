"""What one interest of a person may be."""

from __future__ import annotations

import re

from vectorstore.models.interests import normalized
from vectorstore.models.limits import LONGEST_INTEREST
from vectorstore.projection.shortened import shortened

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What a text in PostgreSQL cannot hold: NUL, and half of a surrogate pair."""


def interest(value: object) -> str:
    """Return the text as it is compared. Raises ValueError with the reason, for one with nothing in it, that is too long, or that PostgreSQL cannot keep."""
    if not isinstance(value, str) or not (text := normalized(value)):
        raise ValueError(f"an interest is a text with something in it, and not {shortened(value)}")
    if UNSTORABLE.search(text):
        raise ValueError(f"an interest has a character that PostgreSQL cannot keep: {shortened(value)}")
    if len(text) > LONGEST_INTEREST:
        raise ValueError(f"an interest has at most {LONGEST_INTEREST} characters, and not {len(text):,}: {shortened(text)}")
    return text
