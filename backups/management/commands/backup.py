"""Make one backup of both stores."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from backups.create import Request, create_backup
from backups.destinations.opening import open_destination
from backups.management.backup_arguments import add_destination
from backups.manifest import Manifest
from backups.qdrant import Servers
from backups.streams.keys import parse_recipient
from findme.core.commands.arguments import seconds
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from vectorstore.snapshots.repository import SECONDS


class Command(FindmeCommand):
    help = "Make one backup of PostgreSQL and Qdrant in a folder, or in a store such as S3."
    after_interrupt = "No backup was made, and what was written is removed now or by the next run."

    def add_arguments(self, parser: CommandParser) -> None:
        add_destination(parser)
        parser.add_argument(
            "--only", choices=["postgres", "qdrant"], default="", help="back up one store; such a backup is not a complete one"
        )
        parser.add_argument(
            "--tables",
            default="",
            metavar="NAMES",
            help="with --only postgres: these tables only, separated by commas; not a complete backup",
        )
        parser.add_argument(
            "--recipient",
            action="append",
            default=[],
            metavar="AGE",
            help="encrypt for this public key of age (age1...); repeat it for more",
        )
        parser.add_argument(
            "--node", action="append", default=[], metavar="URL", help="in a cluster: the REST URL of a node (repeat it for every node)"
        )
        parser.add_argument(
            "--wait", type=seconds, default=SECONDS, metavar="SECONDS", help="how long a server may take (default %(default)g)"
        )
        parser.add_argument("--json", action="store_true", help="print the manifest")

    def handle(self, *args: Any, **options: Any) -> None:
        tables = tuple(filter(None, (name.strip() for name in options["tables"].split(","))))
        if options["tables"] and not tables:
            raise UserFacingError("--tables names no table: nothing was changed. Name tables, such as --tables users,videos.")
        if tables and options["only"] != "postgres":
            raise UserFacingError("--tables is for PostgreSQL alone: nothing was changed. Add --only postgres.")
        recipients = tuple(map(parse_recipient, options["recipient"]))
        request = Request(options["only"], tables, recipients, Servers(tuple(options["node"]), options["wait"]))
        with progress("Backing up, bytes") as report, self.printed_steps("findme.backups", as_json=options["json"]):
            manifest = create_backup(open_destination(options["destination"]), request, report)
        if options["json"]:
            self.print_json(manifest)
            return
        for line in describe(manifest):
            self.print_line(line)


def describe(manifest: Manifest) -> list[str]:
    """Return what the backup has, a line for each store, and how far back it reaches."""
    size = sum(file.size for file in manifest.files)
    encrypted = "encrypted" if manifest.is_encrypted else "not encrypted"
    lines = [f"{manifest.name}: {counted(len(manifest.files), 'file')}, {size:,} bytes, {encrypted}."]
    if manifest.postgresql is not None:
        rows = sum(table.rows for table in manifest.postgresql.tables.values())
        tables = counted(len(manifest.postgresql.tables), "table")
        lines.append(f"PostgreSQL {manifest.postgresql.server_version}: {counted(rows, 'row')} of {tables}.")
    if manifest.qdrant is not None:
        nodes = counted(len(manifest.qdrant.nodes), "snapshot")
        lines.append(
            f"Qdrant {manifest.qdrant.server_version}: {counted(manifest.qdrant.points, 'point')} of {manifest.qdrant.collection}, {nodes}."
        )
    elif manifest.without_qdrant:
        lines.append(f"Without Qdrant: {manifest.without_qdrant}")
    lines.append(f"It reaches back {manifest.reaches_back_seconds:.1f} seconds.")
    if not manifest.is_complete:
        lines.append("It is not a complete backup: one without --only can bring back everything.")
    return lines
