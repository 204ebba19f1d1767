from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.migrator.version import SchemaVersion, schema_version


class Command(FindmeCommand):
    help = "Show the schema version and the applied migrations, the last one first."
    after_interrupt = "Nothing was changed."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")
        parser.add_argument(
            "--check",
            action="store_true",
            help="Exit 1 if the database and the code have different migrations, or if the database has another problem.",
        )

    def handle(self, *args: Any, json: bool, check: bool, **options: Any) -> None:
        schema = schema_version()
        if json:
            self.print_json(schema)
        else:
            self._print(schema, check=check)
        if check and not (schema.is_current and not schema.problems):
            self.exit_with_findings()

    def _print(self, schema: SchemaVersion, *, check: bool) -> None:
        self.print_line(f"version {schema.version}")
        for applied in reversed(schema.history):
            self.print_line(f"{applied.version:5}  {applied.applied_at:%Y-%m-%d %H:%M:%S}  {applied.description}")
        if check:
            for name in schema.unapplied:
                self.print_line(f"not applied: {name}")
            for name in schema.unknown:
                self.print_line(f"not in the code: {name}")
            for problem in schema.problems:
                self.print_line(f"problem: {problem}")
