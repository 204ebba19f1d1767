"""``anonymize_user USER``: clear what identifies a user, and keep the data for statistics."""

from __future__ import annotations

from typing import Any

from privacy.actions.anonymize import anonymize, preview_anonymization
from privacy.management.user_command import UserCommand
from privacy.users import find_user_id


class Command(UserCommand):
    help = "Anonymize a user: the guide's columns, the embedding and the point in the vector store. This cannot be undone."

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = find_user_id(options["user"])
        if options["dry_run"]:
            self.show_dry_run(user_id, preview_anonymization, options)
            return
        self.preview_and_ask(user_id, f"Anonymizing {user_id} cannot be undone. This will happen:", preview_anonymization, options)
        outcome = anonymize(user_id)
        self.show_outcome(f"{user_id} {'is anonymized' if outcome.changed else 'was anonymized already'}.", outcome, options)
