"""Data of two users in one value: an export of one user leaves out what names the other (GDPR, article 15 (4))."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any
from uuid import UUID

from findme.core.values.exact_json import LosslessEncoder, loads

LEFT_OUT = "left out: it names another person"
SHORTEST_NAME = 3
"""Letters of a part of a name. A shorter part, such as "de", is in many words."""

SHORTEST_JOINED = 5
"""Latin letters of a name. The letters of a shorter name, such as "Al", are in many words, so it counts as a word only."""

_WORD = re.compile(r"[^\W\d_]+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def replace_strings(value: Any, replace: Callable[[str], str]) -> Any:
    """Return a JSON value with each string replaced, also the names in objects. Digits of numbers stay, and so does every depth.

    The text of the document is changed, because Python's stack limits a walk through a deep document.
    """
    text = json.dumps(value, cls=LosslessEncoder, ensure_ascii=False)
    replaced = _STRING.sub(lambda found: _replaced(found[0], replace), text)
    return value if replaced == text else loads(replaced)


def _replaced(literal: str, replace: Callable[[str], str]) -> str:
    text = json.loads(literal)
    new = replace(text)
    return literal if new == text else json.dumps(new, cls=LosslessEncoder, ensure_ascii=False)


def without_person(value: Any, user_id: UUID, email: str, full_name: str) -> Any:
    """Return a JSON value without the strings that have the id, the address or a name of this user."""
    names = _names_person(user_id, email, full_name)
    number = 0

    def replace(text: str) -> str:
        nonlocal number
        if not names(text):
            return text
        number += 1  # two names in one object must stay two names
        return LEFT_OUT if number == 1 else f"{LEFT_OUT} ({number})"

    return replace_strings(value, replace)


def _names_person(user_id: UUID, email: str, full_name: str) -> Callable[[str], bool]:
    """Return whether a text names the user: with or without accents, in small or capital letters, as a word, or with the words run together."""
    name, email = _folded(full_name), _folded(email)
    in_name = _WORD.findall(name)
    parts = {re.escape(part) for part in (*in_name, *_WORD.findall(email.partition("@")[0])) if len(part) >= SHORTEST_NAME}
    joined = {user_id.hex, _joined(email)}
    if name.isascii() and len(_joined(name)) < SHORTEST_JOINED:
        parts.add(r"[\W_]*".join(map(re.escape, in_name)))
    else:
        joined.add(_joined(name))
    words = "|".join(filter(None, parts))
    word = re.compile(rf"(?<![^\W\d_])(?:{words})(?![^\W\d_])") if words else None

    def names(text: str) -> bool:
        folded = _folded(text)
        run_together = _joined(folded)
        return (word is not None and word.search(folded) is not None) or any(one in run_together for one in joined if one)

    return names


def _folded(text: str) -> str:
    """Return the text in small letters without accents and vowel marks, so that "José" in its two encodings and "Jose" are one name."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return folded if folded.isascii() else "".join(letter for letter in folded if not unicodedata.category(letter).startswith("M"))


def _joined(text: str) -> str:
    return re.sub(r"[\W_]+", "", text)
