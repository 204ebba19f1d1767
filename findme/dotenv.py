"""The syntax of ``.env``: ``NAME=value`` lines and comments."""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE = re.compile(r"(?:export )?(?P<name>[A-Za-z_0-9]+)=(?P<value>.*)")
COMMENT_AFTER = r"(?:\s+#.*|\s*)"
SINGLE_QUOTED = re.compile(rf"'(.*?)'{COMMENT_AFTER}")
DOUBLE_QUOTED = re.compile(rf'"((?:[^"\\]|\\.)*)"{COMMENT_AFTER}')
FORM = "it must be NAME=value, without a space before or after the name, or a comment that begins with #."


@dataclass(frozen=True, slots=True)
class Entry:
    line: int
    name: str
    value: str


class Unreadable(ValueError):
    """The line number and what is wrong with the line, without its text, which may be secret."""


def parse(text: str) -> list[Entry]:
    """Return the settings in the order of their lines. Raise Unreadable.

    A value in single quotes is taken literally. In double quotes a backslash escapes the next character. A ``#`` begins a comment at the start
    of a line, and outside of quotes after a space.
    """
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if found is None:
            raise Unreadable(f"line {number}: {FORM}")
        entries.append(Entry(number, found["name"], _value(found["value"], number)))
    return entries


def _value(text: str, number: int) -> str:
    if text.startswith("'"):
        found = SINGLE_QUOTED.fullmatch(text)
    elif text.startswith('"'):
        found = DOUBLE_QUOTED.fullmatch(text)
    else:
        return re.sub(r"\s+#.*", "", text).strip()
    if found is None:
        raise Unreadable(f"line {number}: the quote at the start of the value has no end, or something other than a comment follows it.")
    return found[1] if text.startswith("'") else re.sub(r"\\(.)", _escaped, found[1])


def _escaped(found: re.Match[str]) -> str:
    """Keep escapes of a line end or a tab unchanged, as django-environ does."""
    return found[0] if found[1] in "rnt" else found[1]
