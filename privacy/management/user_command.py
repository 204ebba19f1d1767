"""Base class of the three commands on one user: the USER argument, the preview and the confirmation."""

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


class UserCommand(FindmeCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help="a UUID, or an e-mail address (case does not matter)")
        parser.add_argument("--no-input", "--noinput", action="store_true", help="do not ask for confirmation")
        parser.add_argument("--dry-run", action="store_true", help="show what would happen, and change nothing")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def show(self, heading: str, effects: Iterable[Effect], options: dict[str, Any], notes: Iterable[str] = ()) -> None:
        """Print one line per effect, and then the notes, on stderr if stdout is JSON."""
        lines = [heading, *(f"  {effect}" for effect in effects), *notes]
        if options["json"]:
            self.stderr.write("\n".join(lines), style_func=str)
        else:
            self.print_line("\n".join(lines))

    def preview_and_ask(self, user_id: UUID, heading: str, preview: Preview, options: dict[str, Any], notes: Iterable[str] = ()) -> None:
        """Show the preview and ask for confirmation, unless ``--no-input`` is given.

        Raise UserFacingError unless the answer is ``yes``, or if standard input is not a terminal.
        """
        if options["no_input"]:
            return
        if sys.stdin is None or not sys.stdin.isatty():
            raise UserFacingError(
                "Standard input is not a terminal, so there is no confirmation: nothing was changed. Add --no-input or --dry-run."
            )
        self.show(heading, preview(user_id), options, notes)
        self.stderr.write("Type yes to continue: ", ending="", style_func=str)
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() != "yes":
            raise UserFacingError("Not confirmed: nothing was changed. Run it again and type yes.")

    def show_dry_run(self, user_id: UUID, preview: Preview, options: dict[str, Any]) -> None:
        effects = preview(user_id)
        if options["json"]:
            self.print_json({"user_id": user_id, "dry_run": True, "effects": effects})
        else:
            self.show(f"{user_id}: this would happen.", effects, options)

    def exit_if_held(self, outcome: Outcome) -> None:
        """Exit with code 1 if a hold keeps data."""
        if outcome.has_held_data:
            self.stderr.write(f"{outcome.user_id}: held data stay. When the holds end, manage.py process_requests completes the action.")
            self.exit_with_findings()

    def report_pending(self, outcome: Outcome, done: str, command: str) -> None:
        """Report the stores that may still have the hidden user, and exit with findings if there are any. ``command`` tries again."""
        for pending in outcome.pending_stores:
            self.stderr.write(
                f"{outcome.user_id} is {done} in PostgreSQL and hidden from every search, but the {pending.store} may still have the user:"
                f" {pending.reason} When it is available, run: manage.py {command} --no-input"
            )
        if outcome.pending_stores:
            self.exit_with_findings()

    def show_outcome(self, heading: str, outcome: Outcome, options: dict[str, Any]) -> None:
        if options["json"]:
            self.print_json(outcome)
        else:
            self.show(heading, outcome.effects, options)
