"""``erase_user USER --soft|--hard``: hide a user from all others, or delete the user for good."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from privacy.actions.erase import erase, preview_erasure, preview_soft_deletion, soft_delete
from privacy.management.user_command import UserCommand
from privacy.users import find_user_id


class Command(UserCommand):
    help = "Delete a user: softly (hidden, all data stays) or for good, with all rows that refer to the user."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        how = parser.add_mutually_exclusive_group(required=True)
        how.add_argument("--soft", action="store_true", help="set deleted_at, and hide the user from every search")
        how.add_argument("--hard", action="store_true", help="delete the row and everything that refers to it; this cannot be undone")

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = find_user_id(options["user"])
        preview = preview_erasure if options["hard"] else preview_soft_deletion
        if options["dry_run"]:
            self.show_dry_run(user_id, preview, options)
            return
        how = "for good cannot be undone" if options["hard"] else "softly keeps their data"
        self.preview_and_ask(user_id, f"Deleting {user_id} {how}. This will happen:", preview, options)
        (self._hard if options["hard"] else self._soft)(user_id, options)

    def _hard(self, user_id: UUID, options: dict[str, Any]) -> None:
        outcome = erase(user_id)
        if outcome.has_held_data:
            done = "is deleted for good except for held data" if outcome.changed else "was already deleted except for held data"
            self.show_outcome(f"{user_id} {done}.", outcome, options)
            self.exit_if_held(outcome)
        done = "is deleted for good" if outcome.changed else "was already deleted from PostgreSQL, and is now deleted from the stores"
        self.show_outcome(f"{user_id} {done}.", outcome, options)

    def _soft(self, user_id: UUID, options: dict[str, Any]) -> None:
        outcome = soft_delete(user_id)
        self.show_outcome(f"{user_id} {'is deleted softly' if outcome.changed else 'was deleted already'}.", outcome, options)
        self.report_pending(outcome, "deleted", f"erase_user {user_id} --soft")
