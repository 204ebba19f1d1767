"""``hold_user USER --section SECTION --ground GROUND``: keep data of a user from an erasure."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from privacy.actions.holds import Held, describe, hold
from privacy.management.request_arguments import day
from privacy.models.holds import Article, Section
from privacy.users import find_user_id


class Command(FindmeCommand):
    help = "Keep one section of a user's data from an erasure, on a ground of article 17 (3) GDPR. release_hold ends the hold."
    after_interrupt = "The hold is set, or nothing was changed: see the list of holds in the admin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help="a UUID, or an e-mail address (case does not matter)")
        parser.add_argument("--section", choices=Section.values, required=True, help="what is kept")
        parser.add_argument("--ground", choices=Article.values, required=True, help="the ground, an article of the GDPR")
        parser.add_argument("--until", type=day, metavar="DATE", help="the last day (YYYY-MM-DD); without it, until release_hold")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, user: str, section: str, ground: str, until: date | None, json: bool, **options: Any) -> None:
        held = hold(find_user_id(user), Section(section), Article(ground), until=until)
        if json:
            self.print_json(Held.of(held))
        else:
            self.print_line(f"{held.user_id}: {held.section} held ({describe(held)}). To release it, run: manage.py release_hold {held.pk}")
