"""What the three commands about one person have in common: the USER, the preview, the question."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.errors import UserFacingError
from privacy.actions.outcome import Outcome
from privacy.registry import Effect

Preview = Callable[[UUID], list[Effect]]


class PersonCommand(FindmeCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help="a UUID, or an e-mail address (case does not matter)")
        parser.add_argument("--no-input", "--noinput", action="store_true", help="ask nothing")
        parser.add_argument("--dry-run", action="store_true", help="show what would happen, and do nothing")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def show(self, heading: str, effects: Iterable[Effect], options: dict[str, Any]) -> None:
        """A line for each; on stderr where stdout is to be JSON."""
        lines = [heading, *(f"  {effect}" for effect in effects)]
        if options["json"]:
            self.stderr.write("\n".join(lines), style_func=str)
        else:
            self.print_line("\n".join(lines))

    def preview_and_ask(self, user_id: UUID, heading: str, preview: Preview, options: dict[str, Any]) -> None:
        """With ``--no-input`` nothing. Raises UserFacingError unless the question is answered with ``yes``, and where nobody can be
        asked."""
        if options["no_input"]:
            return
        if sys.stdin is None or not sys.stdin.isatty():
            raise UserFacingError(
                "Nobody can be asked, as the standard input is not a terminal: add --no-input to go on without, or --dry-run."
            )
        self.show(heading, preview(user_id), options)
        self.stderr.write("Type yes to go on: ", ending="", style_func=str)
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() != "yes":
            raise UserFacingError("Not confirmed: nothing was changed.")

    def show_dry_run(self, user_id: UUID, preview: Preview, options: dict[str, Any]) -> None:
        effects = preview(user_id)
        if options["json"]:
            self.print_json({"user_id": user_id, "dry_run": True, "effects": effects})
        else:
            self.show(f"{user_id}: this would happen.", effects, options)

    def show_outcome(self, heading: str, outcome: Outcome, options: dict[str, Any]) -> None:
        if options["json"]:
            self.print_json(outcome)
        else:
            self.show(heading, outcome.effects, options)
