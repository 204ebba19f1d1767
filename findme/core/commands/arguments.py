"""What several commands take as an option's value, for argparse."""

from __future__ import annotations

import math
import re
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=3650)
DAY = 86_400
DIGITS = 18
"""Of a number that PostgreSQL can count to."""


def duration(text: str) -> timedelta:
    """``30m``, ``12h``, ``7d``."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    length = timedelta(**{UNITS[found[2]]: int(found[1])}) if found else None
    if length is None or length > LONGEST:
        raise ArgumentTypeError(f"{text!r} is not a duration such as 30m, 12h or 7d, of ten years at most")
    return length


def share(text: str) -> float:
    """From 0 to 1."""
    value = _decimal(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def seconds(text: str) -> float:
    """Seconds, 0 or more."""
    value = _decimal(text)
    if not (math.isfinite(value) and value >= 0):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return value


def seconds_of_a_day(text: str) -> float:
    """Seconds, from 0 to a day of them."""
    value = _decimal(text)
    if not 0 <= value <= DAY:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {DAY}")
    return value


def number(text: str) -> int:
    """A whole number from 0."""
    return _whole(text, 0)


def add_after_restore(parser: ArgumentParser) -> None:
    """The option of every command that may write points again after one of the stores was restored."""
    parser.add_argument(
        "--after-restore",
        action="store_true",
        help="a store was restored, and you have erased again the users who had been erased after the backup: write the points of all others again",
    )


def add_discard_vectors(parser: ArgumentParser) -> None:
    """The option of every command that may delete points."""
    parser.add_argument(
        "--discard-vectors",
        type=number,
        metavar="N",
        help="delete vectors that PostgreSQL does not have, of users whom it has, if there are at most N (default: none)",
    )


def at_least_one(text: str) -> int:
    """A whole number from 1."""
    return _whole(text, 1)


def _decimal(text: str) -> float:
    """NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _whole(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS and int(text) >= least):
        raise ArgumentTypeError(f"{text!r} is not a whole number, {least} or more")
    return int(text)
