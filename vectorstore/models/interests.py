"""The normal form in which interests are compared.

It is Unicode's normal form C without surrounding white space: ``"cafe\\u0301"``, ``"caf\\u00e9"`` and ``" caf\\u00e9 "`` are the same interest. Case is
significant, because Qdrant and other services compare the texts exactly.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def normalized(interest: str) -> str:
    """Return the text that is compared, which is empty for white space only."""
    return unicodedata.normalize("NFC", interest).strip()


def distinct(interests: Iterable[str]) -> list[str]:
    """Return the normalized interests in their order, each once."""
    return list(dict.fromkeys(map(normalized, interests)))
