"""Remove old backups from a destination."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.destinations.opening import open_destination
from backups.management.backup_arguments import add_destination
from backups.management.commands.list_backups import line
from backups.prune import prune_backups
from backups.retention import Keep
from findme.core.commands.arguments import at_least_zero
from findme.core.commands.base import FindmeCommand
from findme.core.errors import UserFacingError
from findme.core.plurals import counted


class Command(FindmeCommand):
    help = "Remove all backups but the newest of each of the last days, weeks and months that have one. The newest complete backup always stays."
    after_interrupt = "Run it again: it removes the others."

    def add_arguments(self, parser: CommandParser) -> None:
        add_destination(parser)
        for period, name in (("daily", "days"), ("weekly", "weeks"), ("monthly", "months")):
            parser.add_argument(
                f"--keep-{period}", type=at_least_zero, default=0, metavar="N", help=f"keep the newest backup of each of the last N {name}"
            )
        parser.add_argument("--dry-run", action="store_true", help="show what would be removed, and remove nothing")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        keep = Keep(options["keep_daily"], options["keep_weekly"], options["keep_monthly"])
        if keep == Keep(0, 0, 0):
            raise UserFacingError("No --keep option was given: nothing was changed. Add --keep-daily, --keep-weekly or --keep-monthly.")
        pruned = prune_backups(open_destination(options["destination"]), keep, dry_run=options["dry_run"])
        if options["json"]:
            self.print_json({"dry_run": options["dry_run"], "removed": pruned.removed, "kept": pruned.kept, "skipped": pruned.skipped})
            return
        for one in pruned.removed:
            self.print_line(line(one))
        removed = counted(len(pruned.removed), "backup")
        if options["dry_run"]:
            self.print_line(f"{removed} would be removed, {len(pruned.kept)} kept.")
        else:
            self.print_line(f"{removed} removed, {len(pruned.kept)} kept.")
        if pruned.skipped:
            self.print_line(
                f"{counted(len(pruned.skipped), 'entry', 'entries')} not touched, because no backup can be used there: see manage.py list_backups."
            )
