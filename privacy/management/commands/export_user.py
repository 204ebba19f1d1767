"""``export_user USER --output FILE``: write all data about a user to a zip of JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from privacy.actions.export import export_user_data, preview_export
from privacy.management.user_command import UserCommand
from privacy.users import find_user_id


class Command(UserCommand):
    help = "Write all data about a user to a zip of JSON files: profile, videos, matches, calls, vector store."
    after_interrupt = "No file was written."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--output", metavar="FILE", required=True, type=Path, help="the zip file, mode 0600; it appears when it is complete"
        )
        parser.add_argument("--force", action="store_true", help="replace FILE if it exists")

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = find_user_id(options["user"])
        destination, force = Path(options["output"]), options["force"]
        if options["dry_run"]:
            self._show_plan(user_id, preview_export(user_id, destination, force=force), options)
            return
        exported = export_user_data(user_id, destination, force=force)
        if options["json"]:
            self.print_json(exported)
            return
        entries = ", ".join(f"{file.name} ({file.entries})" for file in exported.files)
        self.print_line(f"{exported.path}: {exported.size:,} bytes about {user_id}. Entries: {entries}.")

    def _show_plan(self, user_id: object, entries: dict[str, int], options: dict[str, Any]) -> None:
        if options["json"]:
            self.print_json({"user_id": user_id, "dry_run": True, "path": options["output"], "entries": entries})
            return
        listed = ", ".join(f"{name} ({count})" for name, count in entries.items())
        self.print_line(f"{options['output']}: would contain the data of {user_id}. Entries: {listed}.")
