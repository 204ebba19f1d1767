"""The options that say how long ``migrate`` and ``rollback`` wait."""

from __future__ import annotations

import argparse
import math
from typing import Any

from django.core.management.base import CommandParser

from findme.schema.patience import Patience


def add_waiting_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--lock-seconds",
        type=seconds,
        metavar="SECONDS",
        help="How long to wait for another migrate, rollback or backup (MIGRATE_LOCK_SECONDS).",
    )
    parser.add_argument(
        "--lock-timeout",
        type=seconds,
        metavar="SECONDS",
        help="How long a statement waits for a table; 0 is no limit (MIGRATE_LOCK_TIMEOUT).",
    )
    parser.add_argument(
        "--attempts", type=at_least_one, metavar="N", help="How often a migration is tried while a lock is not free (MIGRATE_ATTEMPTS)."
    )


def patience(options: dict[str, Any]) -> Patience:
    return Patience.configured(lock_seconds=options["lock_seconds"], lock_timeout=options["lock_timeout"], attempts=options["attempts"])


def seconds(text: str) -> float:
    """Seconds, 0 or more, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return value


def at_least_one(text: str) -> int:
    """A whole number from 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return value
