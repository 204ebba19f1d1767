"""List the backups in a destination."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import OperationalError, ProgrammingError

from backups.destinations.opening import open_destination
from backups.listing import Listed, list_backups, list_recorded
from backups.management.backup_arguments import add_destination
from findme.core.commands.base import FindmeCommand
from findme.core.errors import one_line
from findme.core.plurals import counted
from privacy.ledger.signing import verifying_keys


class Command(FindmeCommand):
    help = "List the backups in a destination, the newest first. Exit with code 1 if one cannot be used."
    after_interrupt = "Nothing was changed in the destination."

    def add_arguments(self, parser: CommandParser) -> None:
        add_destination(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON document, with the manifests")

    def handle(self, *args: Any, **options: Any) -> None:
        destination, keys = open_destination(options["destination"]), verifying_keys()
        try:
            found = list_recorded(destination, keys)
        except (OperationalError, ProgrammingError) as error:
            # On the day of a restore there may be no database.
            found = list_backups(destination, keys)
            self.stderr.write(f"PostgreSQL did not record the list: {one_line(error)}", style_func=str)
        if options["json"]:
            self.print_json({"backups": found})
        else:
            for one in found:
                self.print_line(line(one))
            self.print_line(f"{counted(sum(one.is_good for one in found), 'backup')} can be used.")
        if any(not one.is_good for one in found):
            self.exit_with_findings()


def line(one: Listed) -> str:
    """Return the line of a list of backups."""
    if one.manifest is None:
        return f"  {one.name}  not usable: {one.problem}"
    kind = "complete" if one.manifest.is_complete else f"only {one.manifest.only}" + (" (tables)" if one.manifest.tables else "")
    encrypted = "encrypted" if one.manifest.is_encrypted else "not encrypted"
    problem = f"  not usable: {one.problem}" if one.problem else ""
    return f"  {one.name}  {one.manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC  {one.size:,} bytes  {kind}  {encrypted}{problem}"
