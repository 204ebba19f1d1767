"""Queue the users whose age has changed, so that their points are written again."""

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
        "Queue the users whose age or age group has changed since the last run, for sync_qdrant. Run it once a day, soon after midnight (UTC)."
        " A run also covers missed days. Until then, a search by age requests a wider range from Qdrant."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print what was done as a JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        with progress("Searching for birthdays") as report:
            refreshed = refresh_ages(report=report)
        note_counts(refreshed)
        if options["json"]:
            self.print_json(refreshed)
        else:
            self.print_line(_summary(refreshed))


def _summary(refreshed: Refreshed) -> str:
    users = counted(refreshed.users, "user")
    if refreshed.since is None:
        return f"{refreshed.day}: queued {refreshed.queued:,} of {users}, because the day of their points' ages is unknown."
    if refreshed.since >= refreshed.day:
        return f"{refreshed.day}: nothing to do, ages were refreshed up to {refreshed.since}."
    return f"{refreshed.day}: queued {refreshed.queued:,} of {users}, who {plural(refreshed.queued, 'has', 'have')} become older since {refreshed.since}."
