"""Make, list, fetch, restore and delete snapshots of the collection."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.arguments import add_discard_vectors, at_least_one, duration, seconds, share
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from vectorstore.catalog.alias import AT_ONCE
from vectorstore.rebuild.reindex import TIMEOUT_SECONDS
from vectorstore.snapshots.repository import SECONDS, Snapshot, create, delete, fetch, list_snapshots, prune
from vectorstore.snapshots.restore import restore


class Command(FindmeCommand):
    help = "Snapshots of the Qdrant collection: make one, list them, fetch one, restore one into a new collection, delete some."
    after_interrupt = "Run it again: it starts from the beginning. qdrant_snapshot list shows what is there."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_subparsers(dest="what", metavar="create | list | download | restore | delete | prune", required=True)
        for name, (about, add) in WHAT.items():
            one = what.add_parser(name, help=about, description=about)
            one.error = lambda message: parser.error(message)  # type: ignore[method-assign]  # it is replaced by one that says it in one line
            add(one)
            one.add_argument("--json", action="store_true", help="print one JSON document")
            one.add_argument(
                "--node",
                action="append",
                default=[],
                metavar="URL",
                help="of a cluster, the REST URL of each node (repeat it for every one)",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['what']}")(options)

    def _create(self, options: dict[str, Any]) -> None:
        with progress("Making snapshots") as report:
            made = create(nodes=options["node"], seconds=options["wait"], report=report)
        self._print_result(made, options, "made")

    def _list(self, options: dict[str, Any]) -> None:
        found = list_snapshots(nodes=options["node"])
        if options["json"]:
            self.print_json(found)
        else:
            self._print_result(found.snapshots, options, "")
            for line in found.unavailable:
                self.print_line(line)
        if found.unavailable:
            self.exit_with_findings()

    def _download(self, options: dict[str, Any]) -> None:
        with progress(f"Fetching {options['name']}, bytes") as report:
            done = fetch(options["name"], options["folder"], force=options["force"], nodes=options["node"], report=report)
        if options["json"]:
            self.print_json(done)
            return
        compared = "as Qdrant says" if done.compared else "which Qdrant does not know"
        self.print_line(f"{str(done.path)!r}: {done.size:,} bytes, SHA-256 {done.sha256} ({compared}).")

    def _restore(self, options: dict[str, Any]) -> None:
        with progress("Restoring the snapshot") as report, self.printed_steps("findme.vectorstore", as_json=options["json"]):
            done = restore(
                options["files"],
                sha256=options["sha256"],
                nodes=options["node"],
                retain=options["retain"],
                min_recall=options["min_recall"],
                discard_vectors=options["discard_vectors"] or 0,
                seconds=options["wait"],
                timeout=options["timeout"],
                report=report,
            )
        if options["json"]:
            self.print_json(done)
        elif done.retained or done.replaced in done.dropped:
            self.print_line(f"{done.replaced} is {'retained' if done.retained else 'dropped'}.")

    def _delete(self, options: dict[str, Any]) -> None:
        self._destroy(lambda *, dry_run: delete(options["names"], nodes=options["node"], dry_run=dry_run), options)

    def _prune(self, options: dict[str, Any]) -> None:
        self._destroy(lambda *, dry_run: prune(options["keep"], nodes=options["node"], dry_run=dry_run), options)

    def _destroy(self, destroy: Callable[..., Sequence[Snapshot]], options: dict[str, Any]) -> None:
        if options["dry_run"]:
            self._print_result(destroy(dry_run=True), options, "to be deleted")
            return
        if not options["no_input"]:
            self._ask(destroy(dry_run=True))
        self._print_result(destroy(dry_run=False), options, "deleted")

    def _ask(self, doomed: Sequence[Snapshot]) -> None:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UserFacingError(
                "Standard input is not a terminal, so there is no confirmation: nothing was changed. Add --no-input or --dry-run."
            )
        self.stderr.write("\n".join(["These snapshots will be deleted for good:", *map(_line, doomed)]), style_func=str)
        self.stderr.write("Type yes to continue: ", ending="", style_func=str)
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() != "yes":
            raise UserFacingError("Not confirmed: nothing was changed. Run it again and type yes.")

    def _print_result(self, snapshots: Sequence[Snapshot], options: dict[str, Any], done: str) -> None:
        if options["json"]:
            self.print_json({"dry_run": options.get("dry_run", False), "snapshots": snapshots})
            return
        for one in snapshots:
            self.print_line(_line(one))
        self.print_line(f"{counted(len(snapshots), 'snapshot')} {done}".rstrip() + ".")


def _line(one: Snapshot) -> str:
    return f"  {one.name}  {one.made_at:%Y-%m-%d %H:%M:%S} UTC  {one.size:,} bytes  {one.node}"


def _creating(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--wait", type=seconds, default=SECONDS, metavar="SECONDS", help="how long a server may take for it (default %(default)g)"
    )


def _listing(parser: ArgumentParser) -> None:
    """Nothing beside what all take."""


def _downloading(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="as list shows it")
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder that it is written into, with its SHA-256 beside it")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")


def _restoring(parser: ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="what download wrote; of a cluster, the files of all its nodes")
    parser.add_argument("--sha256", default="", metavar="HEX", help="what FILE is to have (by default what download wrote beside it)")
    parser.add_argument(
        "--retain",
        type=duration,
        default=AT_ONCE,
        metavar="DURATION",
        help="retain the collection that was live, up to date, for reindex_qdrant --rollback: 30m, 12h, 7d (default: drop it at once)",
    )
    parser.add_argument("--min-recall", type=share, metavar="R", help="accept it with recall@10 of at least R")
    add_discard_vectors(parser)
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for workers and graphs without anything getting on (default %(default)g)",
    )
    parser.add_argument(
        "--wait", type=seconds, default=SECONDS, metavar="SECONDS", help="how long a server may take for a file (default %(default)g)"
    )


def _deleting(parser: ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="as list shows it")
    _destroying(parser)


def _pruning(parser: ArgumentParser) -> None:
    parser.add_argument("--keep", type=at_least_one, required=True, metavar="N", help="how many of the newest stay, on every server")
    _destroying(parser)


def _destroying(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would be deleted, and delete nothing")
    parser.add_argument("--no-input", "--noinput", action="store_true", help="ask nothing")


WHAT: dict[str, tuple[str, Callable[[ArgumentParser], None]]] = {
    "create": ("have every server make a snapshot of the live collection", _creating),
    "list": ("list the snapshots that the servers keep", _listing),
    "download": ("fetch a snapshot into a folder", _downloading),
    "restore": (
        "restore a snapshot into a new collection, make it what PostgreSQL says, and put it in the live one's place",
        _restoring,
    ),
    "delete": ("delete snapshots for good", _deleting),
    "prune": ("delete all but the newest snapshots", _pruning),
}
