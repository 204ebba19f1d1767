"""Command options for how long ``migrate`` and ``rollback`` wait."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.arguments import at_least_one, seconds
from findme.migrator.timeouts import MigrationTimeouts


def add_waiting_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--wait-seconds",
        type=seconds,
        metavar="SECONDS",
        help="Wait this long for another migrate, rollback or backup (default: MIGRATE_WAIT_SECONDS).",
    )
    parser.add_argument(
        "--table-lock-seconds",
        type=seconds,
        metavar="SECONDS",
        help="A statement waits this long for a table; 0 means no limit (default: MIGRATE_TABLE_LOCK_SECONDS).",
    )
    parser.add_argument(
        "--attempts",
        type=at_least_one,
        metavar="N",
        help="Try a migration this many times while a lock is not free (default: MIGRATE_ATTEMPTS).",
    )


def migration_timeouts(options: dict[str, Any]) -> MigrationTimeouts:
    return MigrationTimeouts.configured(
        wait_seconds=options["wait_seconds"], table_lock_seconds=options["table_lock_seconds"], attempts=options["attempts"]
    )
