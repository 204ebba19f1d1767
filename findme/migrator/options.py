"""The options that say how long ``migrate`` and ``rollback`` wait."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.arguments import at_least_one, seconds
from findme.migrator.timeouts import MigrationTimeouts


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


def migration_timeouts(options: dict[str, Any]) -> MigrationTimeouts:
    return MigrationTimeouts.configured(
        lock_seconds=options["lock_seconds"], lock_timeout=options["lock_timeout"], attempts=options["attempts"]
    )
