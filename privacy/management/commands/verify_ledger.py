"""``verify_ledger``: compare the erasure ledger in PostgreSQL with the ledger outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.plurals import counted
from privacy.ledger.outside import outside_ledger
from privacy.ledger.signing import verifying_keys
from privacy.ledger.verify import LedgerComparison, compare_ledgers


class Command(FindmeCommand):
    help = "Compare the erasure ledger in PostgreSQL with the ledger outside: every entry, the chain, and the signatures."
    after_interrupt = "Nothing was changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--public-keys", type=Path, metavar="FILE", help="the public keys (default: those of PRIVACY_SIGNING_KEY)")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, public_keys: Path | None, json: bool, **options: Any) -> None:
        found = compare_ledgers(outside_ledger(), verifying_keys(public_keys))
        if json:
            self.print_json(found)
        else:
            self._print(found)
        if not found.is_sound:
            self.exit_with_findings()

    def _print(self, found: LedgerComparison) -> None:
        if found.checkpoint:
            self.print_line(f"The entries up to {found.checkpoint} were deleted after their retention, as a signed checkpoint says.")
        self.print_line(f"PostgreSQL has {counted(found.in_postgresql, 'entry', 'entries')}, and the ledger outside has {found.outside}.")
        for problem in found.problems:
            self.print_line(problem)
        if found.first_difference is not None:
            self.print_line(f"The copies differ from entry {found.first_difference} on.")
        if found.missing:
            self.print_line(
                f"PostgreSQL lacks {counted(found.missing, 'entry', 'entries')}: it was restored. Run manage.py replay_erasures."
            )
        if found.unpublished:
            self.print_line(f"{counted(found.unpublished, 'entry', 'entries')} will be published by the next privacy action.")
        if found.is_sound:
            self.print_line(f"Both copies agree. Head: {found.head}")
