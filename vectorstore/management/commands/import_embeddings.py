"""Import the embeddings of a Qdrant collection that another program filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.db import connection

from findme.core.commands.arguments import at_least_one, number
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.commands.running import note_counts
from findme.core.plurals import counted
from findme.migrator.earlier_schema import require_current_names
from vectorstore.ingest.from_qdrant.results import Imported
from vectorstore.ingest.from_qdrant.run import ImportInterrupted, import_embeddings
from vectorstore.ingest.from_qdrant.source import address_from, checked_source
from vectorstore.projection.validation import printable


class Command(FindmeCommand):
    help = (
        "Import the vectors, locations, interests and video features of a Qdrant collection into profile_embeddings. Nothing in Qdrant is changed."
        " Exit 0: done; 1: done, and there are conflicts, rejected points or invalid fields; 2: not done."
    )
    after_interrupt = "Run it again: it continues after the last page that was written."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from-collection", required=True, metavar="NAME", help="the collection, or an alias of it")
        parser.add_argument("--vector", metavar="NAME", help="the vector to import, if the vectors of the collection have names")
        parser.add_argument("--model", metavar="NAME", help="the model of the vectors (default: the setting EMBEDDING_MODEL)")
        parser.add_argument(
            "--on-conflict",
            choices=("skip", "replace"),
            default="skip",
            help="if a row and its point differ and it is not certain that the point is newer: keep the row, or take the point (default: skip)",
        )
        parser.add_argument(
            "--rejects",
            type=Path,
            metavar="FILE",
            help="write the points that were not imported as they are to FILE, as JSON Lines (mode 0600)",
        )
        parser.add_argument("--limit-rate", type=at_least_one, metavar="N", help="read at most N points a second")
        parser.add_argument("--from-url", metavar="URL", help="the Qdrant server with the collection (default: that of the settings)")
        parser.add_argument(
            "--from-api-key-file",
            type=Path,
            metavar="FILE",
            help="a file with the API key of the server at --from-url, which only you can read",
        )
        parser.add_argument(
            "--from-grpc-port", type=number, metavar="PORT", help="the gRPC port of the server at --from-url (default: use REST)"
        )
        parser.add_argument("--dry-run", action="store_true", help="write nothing but the rejects; the counts say what would be done")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        require_current_names(connection)
        address = address_from(options["from_url"], options["from_api_key_file"], options["from_grpc_port"])
        source = checked_source(address, options["from_collection"], options["vector"])
        try:
            with progress("Importing embeddings") as report:
                imported = import_embeddings(
                    source,
                    model=options["model"],
                    replace=options["on_conflict"] == "replace",
                    rejects=options["rejects"],
                    limit_rate=options["limit_rate"],
                    dry_run=options["dry_run"],
                    report=report,
                )
        except ImportInterrupted as stopped:
            self._print(stopped.imported, options)
            raise
        self._print(imported, options)
        if not imported.clean:
            self.exit_with_findings()

    def _print(self, imported: Imported, options: dict[str, Any]) -> None:
        note_counts(imported)
        for line in imported.first_findings:
            self.stderr.write(line)
        if imported.rejected + imported.conflicts + sum(imported.invalid_fields.values()) > len(imported.first_findings):
            where = f"All of them: {printable(str(options['rejects']))}" if options["rejects"] else "--rejects FILE stores all of them"
            self.stderr.write(f"There are more. {where}.")
        for count, what in ((imported.shortened_rejects, "shortened in"), (imported.omitted_rejects, "missing from")):
            if count:
                self.stderr.write(f"{counted(count, 'line is', 'lines are')} {what} {printable(str(options['rejects']))}.")
        if options["json"]:
            self.print_json(imported)
        else:
            self._print_result(imported)

    def _print_result(self, imported: Imported) -> None:
        vector = f", vector {imported.vector!r}" if imported.vector else ""
        alias = f", to which the alias {imported.alias!r} points" if imported.alias else ""
        self.print_line(f"Collection {imported.collection!r}{vector}{alias}.")
        if imported.continued_after:
            self.print_line(f"Continued after the point {imported.continued_after}. The counts include those of the interrupted run.")
        self.print_line(
            f"{counted(imported.read, 'point')} read: {imported.imported:,} imported, {imported.updated:,} updated, {imported.unchanged:,} unchanged,"
            f" {imported.conflicts:,} in conflict, {imported.rejected:,} rejected."
        )
        for reason, count in sorted(imported.reasons.items(), key=lambda item: -item[1]):
            self.print_line(f"  {count:,} {reason}")
        if imported.kept:
            self.print_line(f"{counted(imported.kept, 'row')} kept: only the row has changed since the last import.")
        if imported.replaced:
            self.print_line(f"{counted(imported.replaced, 'conflict')} decided for the point, because of --on-conflict replace.")
        if imported.own:
            self.print_line(f"{counted(imported.own, 'point')} skipped: FindMe has made them from its rows.")
        for name, count in imported.invalid_fields.items():
            self.print_line(f"{counted(count, 'point')} imported without {name}: the value is not valid.")
        for name, count in imported.differing_fields.items():
            self.print_line(f"{counted(count, 'point')} with another {name} than in users. PostgreSQL decides, and nothing was changed.")
        if imported.users_without_point is not None:
            self.print_line(f"{counted(imported.users_without_point, 'user has', 'users have')} no point in the collection.")
        if imported.normalized:
            self.print_line("The collection uses cosine distance, so its vectors have length 1, whatever was written to it.")
        if imported.dry_run:
            self.print_line("Nothing was written, because of --dry-run.")
        elif imported.written:
            self.print_line("The users of the written rows are queued for the workers of manage.py sync_qdrant.")
