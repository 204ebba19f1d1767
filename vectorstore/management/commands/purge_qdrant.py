"""Make what was erased unreadable in Qdrant's files, and say what is left where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.arguments import add_discard_vectors, seconds
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.commands.running import note_counts
from findme.core.plurals import counted
from vectorstore.purge.purge import SECONDS, PurgeResult, purge
from vectorstore.purge.stale_snapshots import StaleSnapshot
from vectorstore.purge.vacuum import VacuumResult
from vectorstore.retention.unique_vectors import points_hold


class Command(FindmeCommand):
    help = (
        "Make the points that were erased unreadable on the server's disks: have Qdrant rewrite the segments that hold their bytes, wait for it, and say"
        " what is left where. Exit 1 while something is left."
    )
    after_interrupt = "Run it again: it starts from the beginning, and what was purged stays so."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what there is to purge, and change nothing")
        parser.add_argument("--snapshots", action="store_true", help="delete the snapshots that are older than the last erasure")
        parser.add_argument(
            "--log",
            action="store_true",
            help="build the collection anew and drop the old one, with its write-ahead log (and with --snapshots, its copies)",
        )
        parser.add_argument("--drop-retained", action="store_true", help="drop the collections that reindex_qdrant --retain has retained")
        parser.add_argument(
            "--node", action="append", default=[], metavar="URL", help="of a cluster, the REST URL of each node (repeat it for every one)"
        )
        parser.add_argument(
            "--storage",
            action="append",
            default=[],
            type=Path,
            metavar="FOLDER",
            help="the storage folder of the server, of each one in a cluster: prove there that Qdrant has deleted the files of what it rewrote or dropped",
        )
        parser.add_argument(
            "--wait",
            type=seconds,
            default=SECONDS,
            metavar="SECONDS",
            help="how long to wait without anything getting on (default %(default)g)",
        )
        add_discard_vectors(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        with progress("Purging segments") as report, self.printed_steps("findme.vectorstore", as_json=options["json"]):
            done = purge(
                dry_run=options["dry_run"],
                snapshots=options["snapshots"],
                log=options["log"],
                drop_retained=options["drop_retained"],
                discard_vectors=options["discard_vectors"] or 0,
                nodes=options["node"],
                storage=options["storage"],
                seconds=options["wait"],
                report=report,
            )
        note_counts(done)
        if options["json"]:
            self.print_json({"clean": done.clean, "purged": done})
        else:
            self._print_result(done)
        if not done.clean:
            self.exit_with_findings()

    def _print_result(self, done: PurgeResult) -> None:
        for name in done.dropped:
            self.print_line(f"{name} {'would be' if done.dry_run else 'is'} dropped, with its write-ahead log.")
        if done.unique_vectors:
            self.print_line(f"{points_hold(done.unique_vectors)} the only copy of a user's vector{'' if done.dry_run else ': discarded'}.")
        for one in done.collections:
            self.print_line(_of_segments(one, dry_run=done.dry_run))
        for stale in done.stale_snapshots:
            self.print_line(_of_snapshot(stale, dry_run=done.dry_run))
        for name in (name for name in done.logs if name not in done.dropped):
            self.print_line(f"{name}: its write-ahead log may hold erased points. Add --log to have the collection built anew without.")
        for name in done.unknown:
            self.print_line(f"{name} is not known to FindMe, and may hold anything: see what it is, and delete it.")
        if done.pending:
            self.print_line(
                f"{counted(done.pending, 'person waits', 'people wait')} to be written or deleted: run manage.py sync_qdrant --once, and then this again."
            )
        self.print_line("Nothing of what was erased is left in Qdrant's files." if done.clean else "Something is left, as said above.")


def _of_segments(one: VacuumResult, *, dry_run: bool) -> str:
    if dry_run:
        return f"{one.collection}: deleted points in its segments: {one.remaining:,}."
    line = f"{one.collection}: segments rewritten: {one.segments}, and deleted points that are gone with them: {one.deleted:,}"
    left = [line]
    if one.small:
        left.append(f"{one.small:,} left in segments of less than 100 points, which Qdrant does not rewrite: --log clears them too")
    if one.remaining > one.small:
        left.append(f"{one.remaining - one.small:,} left that were deleted meanwhile: run it again")
    if one.leftover:
        left.append(f"folders of replaced segments that Qdrant has not deleted yet: {one.leftover}. Run it again")
    elif not one.proven:
        left.append(
            "Qdrant 1.19 and later deletes the files of a replaced segment some seconds later and does not report it: prove it with --storage FOLDER on the"
            " server's machine, or add --log"
        )
    elif not one.remaining:
        left.append("none is left")
    return "; ".join(left) + "."


def _of_snapshot(stale: StaleSnapshot, *, dry_run: bool) -> str:
    one = stale.snapshot
    which = f"The snapshot {one.name} of {one.made_at:%Y-%m-%d %H:%M:%S} UTC"
    if stale.deleted:
        return f"{which} {'would be' if dry_run else 'is'} deleted."
    if not stale.ours:
        server = one.node.rstrip("/")
        return (
            f"{which} is of everything on {server}, and may hold erased points: delete it when nobody needs it any more"
            f" (curl -X DELETE {server}/snapshots/{one.name})."
        )
    if stale.holds == "log":
        return f"{which} may hold erased points, in its copy of the log at least: --snapshots with --log deletes it."
    return f"{which} is older than the last erasure: --snapshots deletes it."
