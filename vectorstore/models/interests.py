"""Which interests are the same.

Interests are compared in Unicode's normal form C and without the white space around them: ``"cafe\\u0301"``, ``"caf\\u00e9"`` and ``" caf\\u00e9 "`` are
one. Case counts: Qdrant and other services compare the texts exactly.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def normalized(interest: str) -> str:
    """Return the text that is compared; empty if there is nothing but white space in it."""
    return unicodedata.normalize("NFC", interest).strip()


def distinct(interests: Iterable[str]) -> list[str]:
    """Return the interests as they are compared, each once and in their order."""
    return list(dict.fromkeys(map(normalized, interests)))
