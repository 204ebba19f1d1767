"""Types and options for argparse that several commands use, and a check of model labels."""

from __future__ import annotations

import math
import re
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta

from findme.core.errors import UserFacingError

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=3650)
DAY = 86_400
DIGITS = 18
"""Maximum digits of a number: PostgreSQL can count to every number of 18 digits."""


def duration(text: str) -> timedelta:
    """Return the duration for a text such as ``30m``, ``12h`` or ``7d``."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    length = timedelta(**{UNITS[found[2]]: int(found[1])}) if found else None
    if length is None or length > LONGEST:
        raise ArgumentTypeError(f"{text!r} is not a duration such as 30m, 12h or 7d, of ten years at most")
    return length


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    value = _decimal(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def seconds(text: str) -> float:
    """Return a number of seconds, 0 or more."""
    value = _decimal(text)
    if not (math.isfinite(value) and value >= 0):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return value


def seconds_of_a_day(text: str) -> float:
    """Return a number of seconds, from 0 to one day."""
    value = _decimal(text)
    if not 0 <= value <= DAY:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {DAY}")
    return value


def number(text: str) -> int:
    """Return a whole number, 0 or more."""
    return _whole(text, 0)


def add_after_restore(parser: ArgumentParser) -> None:
    """Add the option of every command that can write points again after a store was restored."""
    parser.add_argument(
        "--after-restore",
        action="store_true",
        help="a store was restored, and you erased again all users who were erased after the backup: write the points of all other users again",
    )


def add_discard_vectors(parser: ArgumentParser) -> None:
    """Add the option of every command that can delete points."""
    parser.add_argument(
        "--discard-vectors",
        type=number,
        metavar="N",
        help="delete at most N vectors that are missing in PostgreSQL although their users exist; with more, delete none (default: 0)",
    )


def at_least_one(text: str) -> int:
    """Return a whole number, 1 or more."""
    return _whole(text, 1)


def at_least_zero(text: str) -> int:
    return _whole(text, 0)


def require_label(label: str) -> None:
    """Raise UserFacingError if Django cannot split ``label`` into an app and a model."""
    if label.count(".") > 1 or not label.strip("."):
        raise UserFacingError(f"{label!r} is not a name of an app or model: nothing was done. Write APP or APP.MODEL.")


def _decimal(text: str) -> float:
    """Return the number in ``text``, or NaN if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _whole(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS and int(text) >= least):
        raise ArgumentTypeError(f"{text!r} is not a whole number, {least} or more")
    return int(text)
