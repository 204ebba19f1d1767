"""``stop_matching USER``: take a user who objected out of all searches and matches, or back in."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from findme.core.errors import UserFacingError
from privacy.actions.restriction import preview_resumption, preview_stop, resume_matching, stop_matching
from privacy.management.user_command import UserCommand
from privacy.models.request_choices import Processing
from privacy.users import find_user_id


class Command(UserCommand):
    help = "Stop the matching of a user who objected or withdrew the consent (articles 21 and 7 (3)). The account works otherwise."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--delete-embedding", action="store_true", help="also delete the vector, which cannot be undone")
        parser.add_argument("--resume", action="store_true", help="the user agreed again: show the user again")

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = find_user_id(options["user"])
        if options["resume"] and options["delete_embedding"]:
            raise UserFacingError("--resume and --delete-embedding exclude each other: nothing was changed. Leave one of them out.")
        processing = Processing.EMBEDDING if options["delete_embedding"] else Processing.MATCHING
        preview = preview_resumption if options["resume"] else partial(preview_stop, processing=processing)
        if options["dry_run"]:
            self.show_dry_run(user_id, preview, options)
            return
        verb, what = ("To resume", "shows the user again") if options["resume"] else ("To stop", "hides the user")
        self.preview_and_ask(user_id, f"{verb} the matching of {user_id} {what}. This will happen:", preview, options)
        if options["resume"]:
            outcome = resume_matching(user_id)
            done = "is matched again" if outcome.changed else "was not stopped"
            self.show_outcome(f"{user_id} {done}.", outcome, options)
            return
        outcome = stop_matching(user_id, processing)
        self.show_outcome(f"{user_id} {'is not matched any more' if outcome.changed else 'was not matched already'}.", outcome, options)
        self.report_pending(outcome, "stopped", f"stop_matching {user_id}")
