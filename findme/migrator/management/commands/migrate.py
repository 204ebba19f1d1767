from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands import migrate
from django.db import connections
from django.db.migrations import Migration

from findme.core.commands.arguments import at_least_one
from findme.core.commands.base import FindmeCommand
from findme.core.commands.signals import interrupted_by_sigterm
from findme.core.postgresql.diagnosis import require_search_path
from findme.migrator.baseline.guard import require_adopted
from findme.migrator.earlier_schema import require_current_names
from findme.migrator.executor import ATTEMPT_FAILED
from findme.migrator.migrate import migrating, planned_undo
from findme.migrator.options import add_waiting_arguments, migration_timeouts
from findme.migrator.undo.guard import Consent
from findme.migrator.undo.plan import RollbackPlan
from findme.migrator.undo.question import ask, describe, describe_losses


class Command(FindmeCommand, migrate.Command):
    help = "Django's migrate under a lock. It waits for other migrations of this database, and for tables that are in use."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--steps", type=at_least_one, metavar="N", help="Run only the first N migrations of the plan.")
        parser.add_argument(
            "--force",
            action="store_true",
            help="When going back to an earlier migration, also drop rows that the question did not mention. See rollback --help.",
        )
        add_waiting_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        reads_only = options["plan"] or options["check_unapplied"]
        require_search_path(connections[options["database"]])
        require_current_names(connections[options["database"]])
        if reads_only and options["steps"] is None:
            require_adopted(connections[options["database"]])
            super().handle(*args, **options)  # without the lock
        else:
            self._handle_locked(Consent() if reads_only else self._consent(options), *args, **options)
        if options["plan"]:
            describe_losses(self._undo(options), self.print_line)

    def _handle_locked(self, consent: Consent, *args: Any, **options: Any) -> None:
        using, steps = options["database"], options["steps"]
        timeouts, fake = migration_timeouts(options), options["fake"]
        with (
            interrupted_by_sigterm(),
            migrating(using=using, timeouts=timeouts, steps=steps, consent=consent, fake=fake, on_warning=self.stderr.write),
        ):
            super().handle(*args, **options)

    def _consent(self, options: dict[str, Any]) -> Consent:
        """Ask before anything is undone, and before the lock is taken: no other process waits while the operator decides."""
        force: bool = options["force"]
        if options["fake"]:
            return Consent(force=force)  # it drops nothing
        plan = self._undo(options)
        if not plan.migrations:
            return Consent(())
        if options["interactive"] or options["verbosity"] >= 1:
            describe(plan, self.print_line)
        if options["interactive"]:
            ask(plan, lambda question: self.stderr.write(question, str, ""))
            return Consent(plan.migrations, plan.losses, force)
        if not force:
            plan.require_no_loss()
        return Consent(plan.migrations, force=force)

    def _undo(self, options: dict[str, Any]) -> RollbackPlan:
        app_label, name = options["app_label"], options["migration_name"]
        if not (app_label and name):
            return RollbackPlan((), ())  # only a migration named on the command line can lead backward
        return planned_undo(app_label, name, using=options["database"], steps=options["steps"])

    def migration_progress_callback(self, action: str, migration: Migration | None = None, fake: bool = False) -> None:
        if action == ATTEMPT_FAILED and self.verbosity >= 1:
            self.stdout.write(" not yet")  # ends Django's line: "Applying accounts.0001_initial..."
        super().migration_progress_callback(action, migration, fake)
