"""``export_user USER``: write all data about a user to a zip, a file (``--output``) or an encrypted one behind a link (``--link``)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import CommandParser

from findme.core.errors import UserFacingError
from privacy.actions.export import count_entries, export_user_data, preview_export
from privacy.actions.export_link import make_export_link, preview_export_link
from privacy.management.request_arguments import request_uuid
from privacy.management.user_command import UserCommand
from privacy.users import find_user_id


@dataclass(frozen=True, slots=True)
class PrintedLink:
    """What ``--link --json`` prints."""

    user_id: UUID
    export_id: UUID
    url: str
    expires_at: datetime
    size: int


class Command(UserCommand):
    help = "Write all data about a user to a zip of JSON files: profile, videos, matches, calls, vector store."
    after_interrupt = "No file was written."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("--output", metavar="FILE", type=Path, help="the zip file, mode 0600; it appears when it is complete")
        where.add_argument(
            "--link", action="store_true", help="keep the zip encrypted in EXPORTS_DIR, and print its link, which works once"
        )
        parser.add_argument("--request", metavar="ID", type=request_uuid, help="with --link: the request that the export answers")
        parser.add_argument("--force", action="store_true", help="replace FILE if it exists")

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = find_user_id(options["user"])
        if options["link"]:
            self._make_link(user_id, options)
            return
        if options["request"] is not None:
            raise UserFacingError("--request needs --link: nothing was exported. Add --link, or leave --request out.")
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

    def _make_link(self, user_id: UUID, options: dict[str, Any]) -> None:
        if options["dry_run"]:
            preview_export_link(user_id, request_id=options["request"])
            self._show_plan(user_id, count_entries(user_id), options | {"output": settings.EXPORTS_DIR})
            return
        link = make_export_link(user_id, request_id=options["request"])
        url = f"{settings.SITE_URL}{link.path}"
        if options["json"]:
            self.print_json(PrintedLink(link.user_id, link.export_id, url, link.expires_at, link.size))
            return
        self.print_line(url)
        self.print_line(
            f"The link works once, until {link.expires_at:%Y-%m-%d %H:%M} UTC, and cannot be shown again. {link.size:,} bytes about {user_id}."
        )
        if not settings.SITE_URL:
            self.stderr.write("SITE_URL is not set, so the link has no host: put the address of your site before it.", style_func=str)

    def _show_plan(self, user_id: object, entries: dict[str, int], options: dict[str, Any]) -> None:
        if options["json"]:
            self.print_json({"user_id": user_id, "dry_run": True, "path": options["output"], "entries": entries})
            return
        listed = ", ".join(f"{name} ({count})" for name, count in entries.items())
        self.print_line(f"{options['output']}: would contain the data of {user_id}. Entries: {listed}.")
