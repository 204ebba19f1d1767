"""``anonymize_user USER``: clear what identifies a user, and keep the data for statistics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from privacy.actions.anonymize import anonymize, preview_anonymization
from privacy.actions.group_size import NO_ERASURE, describe_group, group_sizes
from privacy.management.user_command import UserCommand
from privacy.users import find_user_id


class Command(UserCommand):
    help = (
        "Anonymize a user: the guide's columns, the embedding and the point in the vector store. This is no erasure, and cannot be undone."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = find_user_id(options["user"])
        size = group_sizes([user_id]).get(user_id)
        group = [] if size is None else [describe_group(size)]
        if options["dry_run"]:
            effects = preview_anonymization(user_id)
            if options["json"]:
                self.print_json({"user_id": user_id, "dry_run": True, "effects": effects, "k": size})
            else:
                self.show(f"{user_id}: this would happen.", effects, options, [NO_ERASURE, *group])
            return
        heading = f"Anonymizing {user_id} cannot be undone. This will happen:"
        self.preview_and_ask(user_id, heading, preview_anonymization, options, [NO_ERASURE, *group])
        outcome = anonymize(user_id)
        if options["json"]:
            self.print_json({**asdict(outcome), "k": size})
        else:
            self.show(f"{user_id} {'is anonymized' if outcome.changed else 'was anonymized already'}.", outcome.effects, options, group)
        self.exit_if_held(outcome)
