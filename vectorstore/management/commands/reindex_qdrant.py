"""Rebuild the collection next to the live one, and make it live."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from findme.core.commands.arguments import add_discard_vectors, duration, seconds, share
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.commands.running import note_counts
from findme.core.program import NOT_DONE
from vectorstore.catalog.alias import AT_ONCE
from vectorstore.rebuild.build import TIMEOUT_SECONDS
from vectorstore.rebuild.promote import describe_replaced
from vectorstore.rebuild.reindex import drop_retained, reindex, roll_back
from vectorstore.retention.unique_vectors import DiscardLimit, points_hold

EXCLUDED = {"drop_retained": ["retain", "min_recall", "timeout"], "rollback": ["timeout"]}
"""Options that cannot be combined with the option in the key."""


class Command(FindmeCommand):
    help = (
        "Build a new Qdrant collection from PostgreSQL next to the live one, compare it, and move the alias to it. Searches and writes continue."
        " After an interruption, the next run resumes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--retain",
            type=duration,
            metavar="DURATION",
            help="how long to retain the old collection, up to date, for --rollback: 30m, 12h, 7d (default: drop it at once)",
        )
        parser.add_argument(
            "--min-recall",
            type=share,
            metavar="R",
            help="accept a recall@10 of at least R, instead of 0.01 below the live collection's",
        )
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument(
            "--rollback",
            nargs="?",
            const="",
            metavar="COLLECTION",
            help="make the newest older retained collection live again, or the named one, if it passes the same acceptance check",
        )
        instead.add_argument("--drop-retained", action="store_true", help="drop every collection of the alias except the live one")
        parser.add_argument("--dry-run", action="store_true", help="with --drop-retained: list the collections, and drop none")
        parser.add_argument(
            "--timeout",
            type=seconds,
            metavar="S",
            help=f"how long to wait without progress for workers, an unavailable store, and graphs (default {TIMEOUT_SECONDS:g})",
        )
        add_discard_vectors(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"] and not options["drop_retained"]:
            raise CommandError("--dry-run needs --drop-retained. Add it, or omit --dry-run.", returncode=NOT_DONE)
        for instead, names in EXCLUDED.items():
            for name in names if options[instead] not in {None, False} else ():
                if options[name] is not None:
                    raise CommandError(f"{_option(name)} does not go with {_option(instead)}.", returncode=NOT_DONE)
        limit = DiscardLimit(options["discard_vectors"] or 0)
        if options["drop_retained"]:
            self._print_dropped(drop_retained(dry_run=options["dry_run"], limit=limit), limit, options)
            return
        with (
            progress("Backfilling and comparing the collection") as report,
            self.printed_steps("findme.vectorstore", as_json=options["json"]),
        ):
            if options["rollback"] is not None:
                to = options["rollback"] or None
                done = roll_back(to, retain=options["retain"], min_recall=options["min_recall"], limit=limit, report=report)
            else:
                done = reindex(
                    retain=AT_ONCE if options["retain"] is None else options["retain"],
                    min_recall=options["min_recall"],
                    timeout=TIMEOUT_SECONDS if options["timeout"] is None else options["timeout"],
                    limit=limit,
                    report=report,
                )
        note_counts(done)
        if options["json"]:
            self.print_json(done)
            return
        for line in describe_replaced(done, limit):
            self.print_line(line)

    def _print_dropped(self, names: tuple[str, ...], limit: DiscardLimit, options: dict[str, Any]) -> None:
        if options["json"]:
            self.print_json({"dry_run": options["dry_run"], "dropped": names, "unique_vectors": limit.total})
            return
        self.print_line(
            f"{'Would be dropped' if options['dry_run'] else 'Dropped'}: {', '.join(names)}." if names else "There is nothing to drop."
        )
        if limit.total:
            self.print_line(
                f"{points_hold(limit.total)} the only copy of a user's vector."
                if options["dry_run"]
                else f"Vectors discarded: {limit.total:,}."
            )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
