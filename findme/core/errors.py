"""What a function raises when it was not done, for a reason that a person can do something about, and the words for errors."""

from __future__ import annotations

import re
from typing import ClassVar

LONGEST_VALUE = 200
"""Characters of a value that an error repeats."""
LONGEST_LINE = 10_000
"""Characters of a line: more than a list of all tables and columns has."""
LONG_VALUE = re.compile(rf"(?<!\w)'[^']{{{LONGEST_VALUE + 1},}}'(?!\w)|\S{{{LONGEST_VALUE + 1},}}")


class UserFacingError(Exception):
    """Nothing was done, or what was begun was undone. The text is one line: what is wrong, the value, and the next step; no password."""

    needs_operator: ClassVar[bool] = True
    """Whether a person must act first. A job that waits for a store does not wait for this: it reports the error at once."""


class StoreUnavailable(UserFacingError):
    """A store cannot be reached, or does not answer: nothing is wrong with what was asked, and it may be asked again."""

    needs_operator = False


class StoreUnusable(StoreUnavailable):
    """A store cannot be used until a person changes it or a setting: a wrong key, a restored copy, a missing collection."""

    needs_operator = True


def one_line(error: BaseException) -> str:
    """The words of ERROR on one line, with long values shortened."""
    return truncated(" ".join(str(error).split())) or type(error).__name__


def truncated(text: str) -> str:
    """Return ``text`` with the beginning and the end of each long value, and of all of it."""
    return ends_of(LONG_VALUE.sub(lambda found: ends_of(found[0]), text), LONGEST_LINE)


def ends_of(text: str, longest: int = LONGEST_VALUE) -> str:
    """Return ``text``, or its beginning and its end if it has more than ``longest`` characters."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def without_detail(error: BaseException) -> str:
    """The words of ERROR on one line, and where they are PostgreSQL's, its sentence only: DETAIL quotes the row, and an e-mail address has no place
    in a log."""
    cause = error.__cause__
    sentence = getattr(getattr(cause, "diag", None), "message_primary", None)
    if sentence is None:
        return one_line(error)
    words = str(error)
    before = words[: words.find(str(cause))] if str(cause) in words else ""  # what Django says of the row that it was about
    return truncated(" ".join(f"{before}{sentence}".split()))
