from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands import migrate
from django.db.migrations import Migration

from findme.console.command import FindmeCommand
from findme.management.argument_types import at_least_one
from findme.management.waiting import add_waiting_arguments, patience
from findme.schema.executor import ATTEMPT_FAILED
from findme.schema.migrate import migrating


class Command(FindmeCommand, migrate.Command):
    help = "Django's migrate, one at a time in a database: it waits for another one, and for tables that are in use."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--steps", type=at_least_one, metavar="N", help="Only the first N migrations of what is to be done.")
        add_waiting_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if (options["plan"] or options["check_unapplied"]) and options["steps"] is None:
            super().handle(*args, **options)  # it reads only, and waits for nobody
            return
        with migrating(using=options["database"], patience=patience(options), steps=options["steps"], say=self.stderr.write):
            super().handle(*args, **options)

    def migration_progress_callback(self, action: str, migration: Migration | None = None, fake: bool = False) -> None:
        if action == ATTEMPT_FAILED and self.verbosity >= 1:
            self.stdout.write(" not yet")  # the end of Django's line: "Applying accounts.0001_initial..."
        super().migration_progress_callback(action, migration, fake)
