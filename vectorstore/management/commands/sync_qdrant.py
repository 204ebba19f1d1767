"""Make Qdrant what PostgreSQL says."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from findme.console.command import FindmeCommand
from findme.console.progress import progress
from vectorstore.projection import BATCH_SIZE
from vectorstore.reconcile import Synced, sync_everyone

LARGEST_BATCH = 10_000


class Command(FindmeCommand):
    help = (
        "Make every person's point in Qdrant what PostgreSQL says, and remove the points that nobody is to have. Mends a change by plain SQL, an"
        " outage of Qdrant, and, after init_qdrant, a lost collection."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", required=True, help="go through everyone once, and end")
        parser.add_argument(
            "--batch-size", type=_batch_size, default=BATCH_SIZE, metavar="N", help="people of one request to Qdrant (default %(default)s)"
        )
        parser.add_argument("--dry-run", action="store_true", help="write and remove nothing; print what would be")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        with progress("Comparing people and points") as report:
            synced = sync_everyone(batch_size=options["batch_size"], dry_run=options["dry_run"], report=report)
        if options["json"]:
            self.say_json({"dry_run": options["dry_run"], **asdict(synced)})
        else:
            self.say(_sentence(synced, dry_run=options["dry_run"]))


def _sentence(synced: Synced, *, dry_run: bool) -> str:
    if not synced.written and not synced.removed:
        return f"Nothing to do: {synced.unchanged:,} points are as they are to be."
    would = "would be " if dry_run else ""
    return f"{synced.written:,} points {would}written, {synced.removed:,} {would}removed; {synced.unchanged:,} were as they are to be."


def _batch_size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LARGEST_BATCH):
        raise ArgumentTypeError(f"{text!r} is not a number from 1 to {LARGEST_BATCH}")
    return int(text)
