"""Load embeddings from files into PostgreSQL, and from there into the vector store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.commands.running import note_counts
from findme.core.plurals import counted
from vectorstore.ingest.load import Loaded, LoadInterrupted, upsert_embeddings
from vectorstore.projection.validation import printable


class Command(FindmeCommand):
    help = (
        "Load embeddings: JSON Lines (.jsonl, .ndjson, or - for standard input), .npz or .parquet. Bad rows never stop the good ones."
        " Exit 0: every row is loaded and projected; 1: rows were rejected, or users are quarantined or await projection; 2: an input cannot be read."
    )
    after_interrupt = "Rows that were loaded stay. Run it again: it starts at the beginning of the files."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE", help="files to load; - is standard input, as JSON Lines")
        parser.add_argument("--rejects", type=Path, metavar="FILE", help="write the rejected rows to FILE, as JSON Lines (mode 0600)")
        parser.add_argument("--model", metavar="NAME", help="the model of the vectors (default: the setting EMBEDDING_MODEL)")
        parser.add_argument("--dry-run", action="store_true", help="check every row, also against PostgreSQL, and load none")
        parser.add_argument(
            "--queue-only", action="store_true", help="leave the points to the workers of sync_qdrant, and send nothing to Qdrant"
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with progress("Loading embeddings") as report:
                loaded = upsert_embeddings(
                    options["files"],
                    rejects=options["rejects"],
                    model=options["model"],
                    dry_run=options["dry_run"],
                    queue_only=options["queue_only"],
                    report=report,
                )
        except LoadInterrupted as stopped:
            self._print(stopped.loaded, options)
            raise
        self._print(loaded, options)
        if not loaded.clean:
            self.exit_with_findings()

    def _print(self, loaded: Loaded, options: dict[str, Any]) -> None:
        note_counts(loaded)
        for line in loaded.first_rejections:
            self.stderr.write(line)
        if more := loaded.rejected - len(loaded.first_rejections):
            self.stderr.write(
                f"... and {counted(more, 'more rejected row')}{': ' + printable(str(options['rejects'])) if options['rejects'] else '; --rejects FILE stores all of them'}"
            )
        self._print_limits(loaded, options["rejects"])
        if options["json"]:
            self.print_json(loaded)
        else:
            self._print_result(loaded, dry_run=options["dry_run"])
            if options["queue_only"] and loaded.loaded and not options["dry_run"]:
                self.print_line("Their points are on the queue, for the workers of manage.py sync_qdrant --watch.")

    def _print_limits(self, loaded: Loaded, rejects: Path | None) -> None:
        for count, what in ((loaded.shortened_rejects, "shortened in"), (loaded.omitted_rejects, "missing from")):
            if count:
                self.stderr.write(
                    f"{counted(count, 'rejected row is', 'rejected rows are')} {what} {printable(str(rejects))}: its maximum size depends on the size of the input."
                )

    def _print_result(self, loaded: Loaded, *, dry_run: bool) -> None:
        done = f"{loaded.loadable:,} would be loaded" if dry_run else f"{loaded.loaded:,} loaded ({loaded.new:,} of them new)"
        self.print_line(f"{counted(loaded.read, 'row')} read, {done}, {loaded.rejected:,} rejected.")
        for reason, count in sorted(loaded.reasons.items(), key=lambda item: -item[1]):
            self.print_line(f"  {count:,} {reason}")
        if loaded.projected:
            self.print_line(f"{counted(loaded.projected, 'point')} written to the vector store.")
        if loaded.quarantined:
            self.print_line(
                f"{counted(loaded.quarantined, 'user is', 'users are')} quarantined because their data cannot be projected to a point. The admin shows the reasons and can retry them."
            )
        if loaded.awaiting_projection:
            self.print_line(
                f"{counted(loaded.awaiting_projection, 'user awaits', 'users await')} projection: run manage.py sync_qdrant --once. {loaded.why_not_projected}"
            )
