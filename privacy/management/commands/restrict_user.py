"""``restrict_user USER``: only store the data of a user, or lift the restriction."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.core.management.base import CommandParser

from findme.core.errors import UserFacingError
from privacy.actions.restriction import lift_restriction, preview_lifting, preview_restriction, restrict
from privacy.management.request_arguments import day
from privacy.management.user_command import UserCommand
from privacy.users import find_user_id


class Command(UserCommand):
    help = "Restrict the processing of a user's data (article 18): no search and no match has the user, and all data stays."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--lift", action="store_true", help="lift the restriction: the user is shown again")
        parser.add_argument(
            "--informed-on",
            metavar="DATE",
            type=day,
            help="with --lift: the day on which the user was informed before, as YYYY-MM-DD",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = find_user_id(options["user"])
        informed_on: date | None = options["informed_on"]
        if options["lift"] and informed_on is None:
            raise UserFacingError(
                "The user must be informed before a restriction is lifted (article 18 (3)): nothing was changed. Add --informed-on DATE."
            )
        if not options["lift"] and informed_on is not None:
            raise UserFacingError("--informed-on belongs to --lift: nothing was changed. Add --lift, or leave out --informed-on.")
        preview = preview_lifting if options["lift"] else preview_restriction
        if options["dry_run"]:
            self.show_dry_run(user_id, preview, options)
            return
        heading = (
            f"Lifting the restriction of {user_id} shows the user again" if options["lift"] else f"Restricting {user_id} keeps all data"
        )
        self.preview_and_ask(user_id, f"{heading}. This will happen:", preview, options)
        if informed_on is not None:
            outcome = lift_restriction(user_id, informed_on=informed_on)
            self.show_outcome(f"{user_id} {'is not restricted any more' if outcome.changed else 'was not restricted'}.", outcome, options)
            return
        outcome = restrict(user_id)
        self.show_outcome(f"{user_id} {'is restricted' if outcome.changed else 'was restricted already'}.", outcome, options)
        self.report_pending(outcome, "restricted", f"restrict_user {user_id}")
