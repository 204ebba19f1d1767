"""Create, list, download, restore and delete snapshots of the collection."""

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
from vectorstore.rebuild.build import TIMEOUT_SECONDS
from vectorstore.rebuild.promote import describe_replaced
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.snapshots.repository import SECONDS, Snapshot, create, delete, fetch, list_snapshots, prune
from vectorstore.snapshots.restore import restore


class Command(FindmeCommand):
    help = "Create, list, download and delete snapshots of the Qdrant collection, or restore one into a new collection."
    after_interrupt = "Run it again: it starts from the beginning. qdrant_snapshot list shows the existing snapshots."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="create | list | download | restore | delete | prune", required=True)
        for name, (about, add) in ACTIONS.items():
            one = actions.add_parser(name, help=about, description=about)
            # The parser of the command reports an error in one line.
            one.error = lambda message: parser.error(message)  # type: ignore[method-assign]
            add(one)
            one.add_argument("--json", action="store_true", help="print one JSON document")
            one.add_argument(
                "--node",
                action="append",
                default=[],
                metavar="URL",
                help="in a cluster: the REST URL of a node (repeat it for every node)",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(options)

    def _create(self, options: dict[str, Any]) -> None:
        with progress("Creating snapshots") as report:
            created = create(nodes=options["node"], seconds=options["wait"], report=report)
        self._print_result(created, options, "created")

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
        with progress(f"Downloading {options['name']}, bytes") as report:
            done = fetch(options["name"], options["folder"], force=options["force"], nodes=options["node"], report=report)
        if options["json"]:
            self.print_json(done)
            return
        compared = "equal to Qdrant's" if done.compared else "Qdrant reports none"
        self.print_line(f"{str(done.path)!r}: {done.size:,} bytes, SHA-256 {done.sha256} ({compared}).")

    def _restore(self, options: dict[str, Any]) -> None:
        limit = DiscardLimit(options["discard_vectors"] or 0)
        with progress("Restoring the snapshot") as report, self.printed_steps("findme.vectorstore", as_json=options["json"]):
            done = restore(
                options["files"],
                sha256=options["sha256"],
                nodes=options["node"],
                retain=options["retain"],
                min_recall=options["min_recall"],
                limit=limit,
                seconds=options["wait"],
                timeout=options["timeout"],
                report=report,
            )
        if options["json"]:
            self.print_json(done)
            return
        for line in describe_replaced(done, limit):
            self.print_line(line)

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

    def _ask(self, to_delete: Sequence[Snapshot]) -> None:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UserFacingError(
                "Standard input is not a terminal, so there is no confirmation: nothing was changed. Add --no-input or --dry-run."
            )
        self.stderr.write("\n".join(["These snapshots will be deleted permanently:", *map(_line, to_delete)]), style_func=str)
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


def _add_create(parser: ArgumentParser) -> None:
    parser.add_argument("--wait", type=seconds, default=SECONDS, metavar="SECONDS", help="how long a server may take (default %(default)g)")


def _add_list(parser: ArgumentParser) -> None:
    """Add nothing: ``list`` has only the common options."""


def _add_download(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the name that list shows")
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder for the snapshot and its .sha256 file")
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def _add_restore(parser: ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a downloaded snapshot; in a cluster, the files of all nodes")
    parser.add_argument("--sha256", default="", metavar="HEX", help="the expected SHA-256 of FILE (default: the one in its .sha256 file)")
    parser.add_argument(
        "--retain",
        type=duration,
        default=AT_ONCE,
        metavar="DURATION",
        help="retain the collection that was live, up to date, for reindex_qdrant --rollback: 30m, 12h, 7d (default: drop it at once)",
    )
    parser.add_argument("--min-recall", type=share, metavar="R", help="accept a recall@10 of at least R")
    add_discard_vectors(parser)
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for workers and graphs without progress (default %(default)g)",
    )
    parser.add_argument(
        "--wait", type=seconds, default=SECONDS, metavar="SECONDS", help="how long a server may take for a file (default %(default)g)"
    )


def _add_delete(parser: ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="the name that list shows")
    _add_confirmation(parser)


def _add_prune(parser: ArgumentParser) -> None:
    parser.add_argument("--keep", type=at_least_one, required=True, metavar="N", help="how many of the newest to keep on every server")
    _add_confirmation(parser)


def _add_confirmation(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would be deleted, and delete nothing")
    parser.add_argument("--no-input", "--noinput", action="store_true", help="do not ask for confirmation")


ACTIONS: dict[str, tuple[str, Callable[[ArgumentParser], None]]] = {
    "create": ("create a snapshot of the live collection on every server", _add_create),
    "list": ("list the snapshots on the servers", _add_list),
    "download": ("download a snapshot into a folder", _add_download),
    "restore": (
        "restore a snapshot into a new collection, make it equal to PostgreSQL, and make it live",
        _add_restore,
    ),
    "delete": ("delete snapshots permanently", _add_delete),
    "prune": ("delete all but the newest snapshots", _add_prune),
}
