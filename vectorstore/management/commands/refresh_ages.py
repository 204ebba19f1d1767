"""Have the points of everyone written anew who has become a year older."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.commands.running import note_counts
from findme.core.plurals import counted, plural
from vectorstore.projection.ages import Refreshed, refresh_ages


class Command(FindmeCommand):
    help = (
        "Queue everyone whose age or age group has changed since this was last done, for sync_qdrant to write. To be run once a day, soon after"
        " midnight (UTC); days on which it was not are made up for. Until then a search by age asks Qdrant for a little more."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print what was done as a JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        with progress("Looking for birthdays") as report:
            refreshed = refresh_ages(report=report)
        note_counts(refreshed)
        if options["json"]:
            self.print_json(refreshed)
        else:
            self.print_line(_sentence(refreshed))


def _sentence(refreshed: Refreshed) -> str:
    people = counted(refreshed.users, "person", "people")
    if refreshed.since is None:
        return f"{refreshed.day}: queued {refreshed.queued:,} of {people}: it is not known of which day their points' ages are."
    if refreshed.since >= refreshed.day:
        return f"{refreshed.day}: nothing to do, ages were refreshed up to {refreshed.since}."
    return f"{refreshed.day}: queued {refreshed.queued:,} of {people}, who {plural(refreshed.queued, 'has', 'have')} become older since {refreshed.since}."
