"""``undo_erasure USER``: allow the data of an anonymized or deleted user to be written again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.errors import UserFacingError
from privacy.actions.notes import record_now
from privacy.actions.undo_erasure import undo_erasures
from privacy.users import find_user_id


@dataclass(frozen=True, slots=True)
class Undone:
    user_id: UUID


class Command(FindmeCommand):
    help = "Allow the data of an anonymized or deleted user to be written again. This restores no data."
    after_interrupt = "Nothing was changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help="a UUID, or an e-mail address (case does not matter)")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, user: str, json: bool, **options: Any) -> None:
        user_id = find_user_id(user)
        if not undo_erasures([user_id]):
            raise UserFacingError(f"{user_id} is neither anonymized nor deleted for good: nothing was changed.")
        record_now(user_id)
        if json:
            self.print_json(Undone(user_id))
        else:
            self.print_line(f"Data of {user_id} can be written again. No data was restored.")
