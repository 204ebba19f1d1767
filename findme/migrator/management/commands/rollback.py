from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.arguments import at_least_one
from findme.core.commands.base import FindmeCommand
from findme.core.commands.signals import interrupted_by_sigterm
from findme.migrator.options import add_waiting_arguments, migration_timeouts
from findme.migrator.undo.plan import plan_rollback
from findme.migrator.undo.question import ask, describe
from findme.migrator.undo.rollback import roll_back


class Command(FindmeCommand):
    help = "Undo the last N applied migrations of all apps, the last one first."
    after_interrupt = "Migrations already undone stay undone: manage.py schema_version shows the current version."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        how_many = parser.add_mutually_exclusive_group()
        how_many.add_argument("count", nargs="?", type=at_least_one, metavar="N", help="How many migrations (default: 1).")
        how_many.add_argument("--all", action="store_true", help="Undo all migrations, down to an empty database.")
        parser.add_argument("--dry-run", action="store_true", help="Show what would be undone and lost, and change nothing.")
        parser.add_argument(
            "--force", action="store_true", help="Also drop rows that were not confirmed: with --no-input, or written since the question."
        )
        parser.add_argument("--no-input", "--noinput", action="store_true", help="Do not ask.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")
        add_waiting_arguments(parser)

    def handle(self, *args: Any, count: int | None, dry_run: bool, force: bool, no_input: bool, json: bool, **options: Any) -> None:
        self.print_step = self.on_stderr if json else self.print_line
        plan = plan_rollback(None if options["all"] else count or 1)
        if not plan.migrations:
            self.print_step("There is nothing to undo.")
        describe(plan, self.print_step)
        if dry_run:
            if json:
                self.print_json(plan)
            return
        if not no_input and plan.migrations:
            ask(plan, lambda question: self.on_stderr(question, ending=""))
        accepted = () if no_input else plan.losses
        with interrupted_by_sigterm():
            done = roll_back(
                plan,
                force=force,
                accepted=accepted,
                timeouts=migration_timeouts(options),
                on_warning=self.on_stderr,
                on_undone=self._undone,
            )
        if json:
            self.print_json(done)
        else:
            self.print_line(f"version {done.version}")

    def _undone(self, migration: str) -> None:
        self.print_step(f"undone: {migration}")

    def on_stderr(self, line: str, ending: str = "\n") -> None:
        self.stderr.write(line, str, ending)
