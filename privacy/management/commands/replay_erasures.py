"""``replay_erasures``: after a restore, repeat the privacy actions that the database has lost."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.plurals import counted
from privacy.actions.replay import Replayed, replay


class Command(FindmeCommand):
    help = "After a restore of PostgreSQL: copy missing entries from the ledger outside, and repeat erasures and other privacy actions in both stores."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be repeated")
        parser.add_argument(
            "--data-are-newer",
            action="store_true",
            help="a database without a ledger: its data are newer than the entries that were deleted after their retention",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, dry_run: bool, data_are_newer: bool, json: bool, **options: Any) -> None:
        result = replay(dry_run=dry_run, data_are_newer=data_are_newer)
        if json:
            self.print_json(_as_json(result))
        else:
            self._print(result)
        for user_id, reason in result.waiting.items():
            self.stderr.write(f"{user_id}: {reason}")
        if result.waiting:
            self.exit_with_findings()

    def _print(self, result: Replayed) -> None:
        would = "would be " if result.dry_run else ""
        self.print_line(
            f"{counted(result.entries, 'entry', 'entries')} in the ledger outside, {result.copied} {would}copied to PostgreSQL."
        )
        for kind, count in result.repeated.items():
            self.print_line(f"{kind}: {would}repeated for {counted(count, 'user')}.")
        for user_id in result.rectifications:
            self.print_line(
                f"{user_id}: a request for rectification was answered after the backup. Correct the data again, then record and answer it."
            )
        if not result.repeated and not result.waiting:
            self.print_line("No user differs from the ledger.")
        if result.waiting:
            self.print_line(f"{counted(len(result.waiting), 'user')} must wait. Run manage.py replay_erasures again.")


def _as_json(result: Replayed) -> dict[str, Any]:
    return {
        "dry_run": result.dry_run,
        "entries": result.entries,
        "copied": result.copied,
        "repeated": result.repeated,
        "rectifications": [str(user_id) for user_id in result.rectifications],
        "waiting": {str(user_id): reason for user_id, reason in result.waiting.items()},
    }
