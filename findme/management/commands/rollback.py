from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from findme.console.command import FindmeCommand
from findme.console.errors import NotDone
from findme.management.argument_types import at_least_one
from findme.management.waiting import add_waiting_arguments, patience
from findme.schema.rollback import roll_back
from findme.schema.rollback_plan import RollbackPlan, plan_rollback


class Command(FindmeCommand):
    help = "Undo the last N migrations that were applied, whatever app they are in, the last one first."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        how_many = parser.add_mutually_exclusive_group()
        how_many.add_argument("count", nargs="?", type=at_least_one, metavar="N", help="How many (1).")
        how_many.add_argument("--all", action="store_true", help="All of them: down to an empty database.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would be undone and lost, and do nothing.")
        parser.add_argument(
            "--force", action="store_true", help="Also drop what nobody was asked about: with --no-input, or written since the question."
        )
        parser.add_argument("--no-input", "--noinput", action="store_true", help="Do not ask.")
        parser.add_argument("--json", action="store_true", help="One JSON object on standard output.")
        add_waiting_arguments(parser)

    def handle(self, *args: Any, count: int | None, dry_run: bool, force: bool, no_input: bool, json: bool, **options: Any) -> None:
        self.tell = self.on_stderr if json else self.say
        plan = plan_rollback(None if options["all"] else count or 1)
        self._describe(plan)
        if dry_run:
            if json:
                self.say_json(plan)
            return
        if not no_input and plan.migrations:
            self._ask(plan)
        accepted = () if no_input else plan.losses
        done = roll_back(plan, force=force, accepted=accepted, patience=patience(options), say=self.on_stderr, undone=self._undone)
        if json:
            self.say_json(done)
        else:
            self.say(f"version {done.version}")

    def _describe(self, plan: RollbackPlan) -> None:
        if not plan.migrations:
            self.tell("There is nothing to undo.")
        for migration in plan.migrations:
            self.tell(f"to undo: {migration}")
        for loss in plan.losses:
            self.tell(f"goes with it: {loss}")

    def _ask(self, plan: RollbackPlan) -> None:
        if sys.stdin is None or not sys.stdin.isatty():
            raise NotDone("Nobody can be asked, as the standard input is not a terminal: nothing was undone. A script adds --no-input.")
        migrations = "1 migration" if len(plan.migrations) == 1 else f"{len(plan.migrations)} migrations"
        self.on_stderr(f"Undo {migrations}? [y/N] ", ending="")
        try:
            answer = input()
        except EOFError:
            raise NotDone("There was no answer: nothing was undone. A script adds --no-input.") from None
        if answer.strip().lower() not in ("y", "yes"):
            raise NotDone(f"The answer was {answer!r}, not y: nothing was undone.")

    def _undone(self, migration: str) -> None:
        self.tell(f"undone: {migration}")

    def on_stderr(self, line: str, ending: str = "\n") -> None:
        self.stderr.write(line, str, ending)
