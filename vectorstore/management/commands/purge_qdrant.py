"""Purge erased points from Qdrant's files, and report what remains."""

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
        "Purge erased points from the server's disks: have Qdrant rewrite the segments that contain their bytes, wait for it, and report what"
        " remains. Exit 1 if something remains."
    )
    after_interrupt = "Run it again: it starts from the beginning. What was purged stays purged."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="report what there is to purge, and change nothing")
        parser.add_argument("--snapshots", action="store_true", help="delete the snapshots that are older than the last erasure")
        parser.add_argument(
            "--log",
            action="store_true",
            help="rebuild the collection and drop the old one with its write-ahead log (with --snapshots, also the snapshots that contain the log)",
        )
        parser.add_argument("--drop-retained", action="store_true", help="drop the collections that reindex_qdrant --retain has retained")
        parser.add_argument(
            "--node", action="append", default=[], metavar="URL", help="in a cluster: the REST URL of a node (repeat it for every node)"
        )
        parser.add_argument(
            "--storage",
            action="append",
            default=[],
            type=Path,
            metavar="FOLDER",
            help="the storage folder of the server (repeat it for every node): check there that Qdrant has deleted the replaced and dropped files",
        )
        parser.add_argument(
            "--wait",
            type=seconds,
            default=SECONDS,
            metavar="SECONDS",
            help="how long to wait without progress (default %(default)g)",
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
            self.print_line(_segments_line(one, dry_run=done.dry_run))
        for stale in done.stale_snapshots:
            self.print_line(_snapshot_line(stale, dry_run=done.dry_run))
        for name in (name for name in done.logs if name not in done.dropped):
            self.print_line(f"{name}: its write-ahead log may hold erased points. Add --log to rebuild the collection with a new log.")
        for download in done.downloads:
            self.print_line(
                f"A killed adoption has left a downloaded snapshot in {download.folder!r} on {download.host!r}, with every point: "
                + ("this command deletes it." if download.is_here else "run this command on that machine, or delete the folder there.")
            )
        for name in done.unknown:
            self.print_line(f"{name} is not in FindMe's registry and may hold erased points. Check what it is, then delete it.")
        if done.pending:
            self.print_line(
                f"{counted(done.pending, 'user waits', 'users wait')} to be written or deleted: run manage.py sync_qdrant --once, then this command again."
            )
        self.print_line("No erased data remains in Qdrant's files." if done.clean else "Erased data may remain, as listed above.")


def _segments_line(one: VacuumResult, *, dry_run: bool) -> str:
    if dry_run:
        return f"{one.collection}: deleted points in its segments: {one.remaining:,}."
    parts = [f"{one.collection}: segments rewritten: {one.segments}, deleted points purged with them: {one.deleted:,}"]
    if one.small:
        parts.append(f"{one.small:,} remain in segments of less than 100 points, which Qdrant does not rewrite: --log clears them too")
    if one.remaining > one.small:
        parts.append(f"{one.remaining - one.small:,} were deleted during the run: run it again")
    if one.leftover:
        parts.append(f"folders of replaced segments that Qdrant has not deleted yet: {one.leftover}. Run it again")
    elif not one.proven:
        parts.append(
            "Qdrant 1.19 and later deletes the files of a replaced segment some seconds later and does not report it: check it with --storage FOLDER on the"
            " server's machine, or add --log"
        )
    elif not one.remaining:
        parts.append("none remains")
    return "; ".join(parts) + "."


def _snapshot_line(stale: StaleSnapshot, *, dry_run: bool) -> str:
    one = stale.snapshot
    which = f"The snapshot {one.name} of {one.made_at:%Y-%m-%d %H:%M:%S} UTC"
    if stale.deleted:
        return f"{which} {'would be' if dry_run else 'is'} deleted."
    if not stale.ours:
        server = one.node.rstrip("/")
        return (
            f"{which} is of the whole server {server} and may hold erased points. Delete it when no service needs it any more:"
            f" curl -X DELETE {server}/snapshots/{one.name}"
        )
    if stale.holds == "log":
        return f"{which} may hold erased points, at least in its copy of the log: --snapshots with --log deletes it."
    return f"{which} is older than the last erasure: --snapshots deletes it."
