"""Print how old the last good backup and the last proof are."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.proof.status import MAX_AGE, MAX_DRILL_AGE, BackupStatus, age_text, backup_status
from findme.core.commands.arguments import duration
from findme.core.commands.base import FindmeCommand


class Command(FindmeCommand):
    help = "Print how old the last good backup is, and the last one that was proven by restoring it. Exit with code 1 if one is too old."
    after_interrupt = "Nothing was changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--max-age", type=duration, default=MAX_AGE, metavar="TIME", help="how old the last good backup may be (default: 26h)"
        )
        parser.add_argument(
            "--max-drill-age", type=duration, default=MAX_DRILL_AGE, metavar="TIME", help="how old the last proof may be (default: 35d)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        found = backup_status(options["max_age"], options["max_drill_age"])
        if options["json"]:
            self.print_json(found)
        else:
            for line in (*describe(found), *found.problems):
                self.print_line(line)
        if found.problems:
            self.exit_with_findings()


def describe(found: BackupStatus) -> list[str]:
    lines = []
    if found.backup is not None:
        lines.append(f"Last good backup: {found.backup.name} in {found.backup.destination}, {age_text(found.backup.age_seconds)} old.")
    if found.proof is not None:
        lines.append(
            f"Last proof: {found.proof.name} in {found.proof.destination}, {age_text(found.proof.age_seconds)} ago."
            f" The restore took {found.proof.restore_seconds:.1f} seconds."
        )
    if found.failed is not None:
        lines.append(f"The last verification failed, that of {found.failed.name}: {found.failed.error}")
    return lines
