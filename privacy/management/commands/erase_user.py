"""``erase_user USER --soft|--hard``: hide a person from everyone, or delete them for good."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from privacy.actions.erase import erase, preview_erasure, preview_soft_deletion, soft_delete
from privacy.management.person_command import PersonCommand
from privacy.people import find_person


class Command(PersonCommand):
    help = "Delete a person: softly (nobody sees them any more, and their data stay), or for good, with all that hangs on them."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        how = parser.add_mutually_exclusive_group(required=True)
        how.add_argument("--soft", action="store_true", help="set deleted_at, and take the person out of every search")
        how.add_argument("--hard", action="store_true", help="delete the row with everything that refers to it; this cannot be undone")

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = find_person(options["user"])
        preview = preview_erasure if options["hard"] else preview_soft_deletion
        if options["dry_run"]:
            self.show_dry_run(user_id, preview, options)
            return
        how = "for good cannot be undone" if options["hard"] else "softly keeps their data"
        self.preview_and_ask(user_id, f"Deleting {user_id} {how}. This will happen:", preview, options)
        (self._hard if options["hard"] else self._soft)(user_id, options)

    def _hard(self, user_id: UUID, options: dict[str, Any]) -> None:
        outcome = erase(user_id)
        done = "is deleted for good" if outcome.changed else "was gone from PostgreSQL, and had been left in a store"
        self.show_outcome(f"{user_id} {done}.", outcome, options)

    def _soft(self, user_id: UUID, options: dict[str, Any]) -> None:
        outcome = soft_delete(user_id)
        self.show_outcome(f"{user_id} {'is deleted softly' if outcome.changed else 'was deleted already'}.", outcome, options)
        for pending in outcome.pending_stores:
            self.stderr.write(
                f"{user_id} is deleted in PostgreSQL, and no search shows them, but the {pending.store} could not be told: {pending.reason}"
                f" When it can be, type: manage.py erase_user {user_id} --soft --no-input"
            )
        if outcome.pending_stores:
            self.exit_with_findings()
