"""``anonymize_user USER``: clear what identifies a person, keep what statistics need."""

from __future__ import annotations

from typing import Any

from privacy.actions.anonymize import anonymise, preview_anonymisation
from privacy.management.person_command import PersonCommand
from privacy.people import find_person


class Command(PersonCommand):
    help = "Anonymise a person: the guide's columns, their embedding, their point in the vector store. This cannot be undone."

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = find_person(options["user"])
        if options["dry_run"]:
            self.show_dry_run(user_id, preview_anonymisation, options)
            return
        self.preview_and_ask(user_id, f"Anonymising {user_id} cannot be undone. This will happen:", preview_anonymisation, options)
        outcome = anonymise(user_id)
        self.show_outcome(f"{user_id} {'is anonymised' if outcome.changed else 'was anonymised already'}.", outcome, options)
