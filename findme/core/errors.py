"""Errors that a user or an operator can act on, and functions that format the text of an error."""

from __future__ import annotations

import re
from typing import ClassVar

LONGEST_VALUE = 200
"""Maximum length of a quoted value, in characters."""
LONGEST_LINE = 10_000
"""Maximum length of a line, in characters. A list of all tables and columns is shorter."""
LONG_VALUE = re.compile(rf"(?<!\w)'[^']{{{LONGEST_VALUE + 1},}}'(?!\w)|\S{{{LONGEST_VALUE + 1},}}")


class UserFacingError(Exception):
    """An error whose text is one line: what is wrong, with the value, and the next step.

    Nothing was done, or what was begun was undone. The text has no password.
    """

    needs_operator: ClassVar[bool] = True
    """Whether the operator must act first. A job that waits for a store reports such an error at once and does not wait."""


class StoreUnavailable(UserFacingError):
    """A store cannot be reached or does not answer. The request itself is correct and can be repeated."""

    needs_operator = False


class StoreUnusable(StoreUnavailable):
    """A store is unusable until the operator acts: a wrong key, a restored copy, a missing collection."""

    needs_operator = True


def one_line(error: BaseException) -> str:
    """Return the text of ``error`` on one line, with long values shortened."""
    return truncated(" ".join(str(error).split())) or type(error).__name__


def truncated(text: str) -> str:
    """Return ``text`` with each long value cut to its beginning and its end, and then the whole text too."""
    return ends_of(LONG_VALUE.sub(lambda found: ends_of(found[0]), text), LONGEST_LINE)


def ends_of(text: str, longest: int = LONGEST_VALUE) -> str:
    """Return ``text``, or its beginning and its end if it has more than ``longest`` characters."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def without_detail(error: BaseException) -> str:
    """Return the text of ``error`` on one line, without the DETAIL of a PostgreSQL error and without its full stop: the caller's sentence continues.

    DETAIL quotes the row, and a log must not contain an e-mail address.
    """
    cause = error.__cause__
    sentence = getattr(getattr(cause, "diag", None), "message_primary", None)
    if sentence is None:
        return one_line(error).rstrip(".")
    words = str(error)
    # Django's part of the text, which names the row.
    before = words[: words.find(str(cause))] if str(cause) in words else ""
    return truncated(" ".join(f"{before}{sentence}".split())).rstrip(".")
