"""``clear_login_records``: delete the records of log-ins that are older than 30 days."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts.login.retention import KEPT, delete_old_records
from findme.console.command import FindmeCommand
from findme.console.plurals import counted


class Command(FindmeCommand):
    help = "Delete the records of log-ins and of failed log-ins that are older than 30 days. Run it once a day."
    after_interrupt = "What was deleted stays deleted: run it again for the rest."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        deleted = delete_old_records()
        if json:
            self.say_json({"deleted": deleted, "older_than_days": KEPT.days})
        else:
            self.say(f"{counted(deleted, 'record')} of log-ins deleted.")
