"""``release_hold ID``: end a hold."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from privacy.actions.holds import Held, release


class Command(FindmeCommand):
    help = "End a hold. process_requests then completes the erasure that it has delayed."
    after_interrupt = "The hold is released, or nothing was changed: see the list of holds in the admin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("hold", metavar="ID", type=int, help="the number of the hold, which an erasure and the admin show")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, hold: int, json: bool, **options: Any) -> None:
        released = release(hold)
        if json:
            self.print_json(Held.of(released))
        else:
            self.print_line(
                f"Hold {released.pk} of {released.user_id} is released. manage.py process_requests completes what it has delayed."
            )
