"""``anonymize_user USER``: clear what identifies a person, keep what statistics need."""

from __future__ import annotations

from typing import Any

from privacy.actions.anonymize import anonymize, preview_anonymization
from privacy.management.person_command import PersonCommand
from privacy.people import find_person


class Command(PersonCommand):
    help = "Anonymize a person: the guide's columns, their embedding, their point in the vector store. This cannot be undone."

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = find_person(options["user"])
        if options["dry_run"]:
            self.show_dry_run(user_id, preview_anonymization, options)
            return
        self.preview_and_ask(user_id, f"Anonymizing {user_id} cannot be undone. This will happen:", preview_anonymization, options)
        outcome = anonymize(user_id)
        self.show_outcome(f"{user_id} {'is anonymized' if outcome.changed else 'was anonymized already'}.", outcome, options)
