"""Data of two users in one value: an export of one user leaves out what names the other (GDPR, article 15 (4))."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from findme.core.values.exact_json import LosslessEncoder, loads

LEFT_OUT = "left out: it names another person"
SHORTEST_NAME = 3
"""Letters of a part of a name. A shorter part, such as "de", is in many words."""

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
    """Return whether a text names the user: in small or capital letters, as a word, or with the words run together."""
    parts = {part for name in (full_name, email.partition("@")[0]) for part in re.findall(r"[^\W\d_]+", name.casefold())}
    words = "|".join(re.escape(part) for part in parts if len(part) >= SHORTEST_NAME)
    word = re.compile(rf"(?<![^\W\d_])(?:{words})(?![^\W\d_])") if words else None
    joined = tuple(filter(None, (user_id.hex, _joined(email), _joined(full_name))))

    def names(text: str) -> bool:
        folded = text.casefold()
        return (word is not None and word.search(folded) is not None) or any(one in _joined(folded) for one in joined)

    return names


def _joined(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())
