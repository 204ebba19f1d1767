"""``apply_retention``: delete personal data after its retention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.commands.running import note_counts
from findme.core.plurals import counted
from privacy.registry import registry


@dataclass(frozen=True, slots=True)
class Expired:
    """Deleted rows of one owner of personal data, older than ``retention_days``."""

    section: str
    deleted: int
    retention_days: int

    def __str__(self) -> str:
        return f"{self.section}: {counted(self.deleted, 'row')} older than {self.retention_days} days deleted."


@dataclass(frozen=True, slots=True)
class Applied:
    deleted: int
    sections: list[Expired]


class Command(FindmeCommand):
    help = "Delete personal data after its retention: login records and the audit log. Run it once a day."
    after_interrupt = "Deleted rows stay deleted: run this again for the rest."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        expired = [
            Expired(owner.section, owner.delete_expired(), owner.retention.days) for owner in registry.owners if owner.retention is not None
        ]
        applied = Applied(sum(one.deleted for one in expired), expired)
        note_counts(applied)
        if json:
            self.print_json(applied)
        for one in [] if json else expired:
            self.print_line(str(one))
