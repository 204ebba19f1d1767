"""``clear_login_records``: delete the records of log-ins that are older than 30 days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandParser

from accounts.login.retention import KEPT, delete_old_records
from findme.console.command import FindmeCommand
from findme.console.plurals import counted
from findme.console.running import note_counts


@dataclass(frozen=True, slots=True)
class Cleared:
    deleted: int
    older_than_days: int


class Command(FindmeCommand):
    help = "Delete the records of log-ins and of failed log-ins that are older than 30 days. Run it once a day."
    after_interrupt = "What was deleted stays deleted: run it again for the rest."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        cleared = Cleared(delete_old_records(), KEPT.days)
        note_counts(cleared)
        if json:
            self.say_json(cleared)
        else:
            self.say(f"{counted(cleared.deleted, 'record')} of log-ins deleted.")
