"""Restore a backup beside the live stores, and let it take their place."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.db import connection

from backups.management.backup_arguments import open_source
from backups.manifest import Manifest
from backups.qdrant import Servers
from backups.restoring.into import connection_into
from backups.restoring.old_databases import drop_old, old_databases
from backups.restoring.only_qdrant import restore_only_qdrant
from backups.restoring.restore import Request, Restored, check_restore, restore_backup
from backups.streams.keys import read_identities
from findme.core.commands.arguments import add_discard_vectors, at_least_one, seconds, share
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.commands.prompts import confirm
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from privacy.ledger.signing import verifying_keys
from vectorstore.rebuild.build import TIMEOUT_SECONDS
from vectorstore.rebuild.promote import describe_replaced
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.snapshots.repository import SECONDS
from vectorstore.snapshots.restore import RestoreResult

JOBS = 2
"""Sessions that restore the dump. More help on a server with more processors."""


class Command(FindmeCommand):
    help = "Restore a backup beside the live stores, prove it, and let it take their place."
    after_interrupt = "What serves was not changed, unless a line above says so. Run it again: it first finishes or undoes what is left."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", nargs="?", metavar="SOURCE", help="a backup: its destination, a slash and its name")
        parser.add_argument(
            "--only",
            choices=["postgres", "qdrant"],
            default="",
            help="postgres: build the collection from PostgreSQL instead of taking the snapshot; qdrant: only the snapshot, PostgreSQL stays",
        )
        parser.add_argument("--identity", type=Path, metavar="FILE", help="the secret key of age, for an encrypted backup")
        parser.add_argument(
            "--force", action="store_true", help="take the place of a database that is not empty; it stays under another name"
        )
        parser.add_argument(
            "--into",
            metavar="URL",
            help="restore PostgreSQL into this database instead of that of DATABASE_URL, as a copy with an id of its own; Qdrant stays as it is",
        )
        parser.add_argument(
            "--jobs", type=at_least_one, default=JOBS, metavar="N", help="sessions that restore the dump (default %(default)s)"
        )
        parser.add_argument("--no-owners", action="store_true", help="let all belong to the role of DATABASE_URL, without roles and grants")
        parser.add_argument(
            "--dry-run", action="store_true", help="read every byte of the backup and check the rights and the versions only"
        )
        parser.add_argument("--drop-old", action="store_true", help="drop the databases that earlier restores have replaced")
        parser.add_argument("--no-input", "--noinput", action="store_true", help="with --drop-old: do not ask for confirmation")
        parser.add_argument(
            "--temporary-folder", type=Path, metavar="DIR", help="the folder for the decrypted files (default: that of BACKUP_JOURNAL)"
        )
        parser.add_argument(
            "--public-keys", type=Path, metavar="FILE", help="the public keys of the signature (default: those of PRIVACY_SIGNING_KEY)"
        )
        parser.add_argument(
            "--node", action="append", default=[], metavar="URL", help="in a cluster: the REST URL of a node (repeat it for every node)"
        )
        parser.add_argument("--min-recall", type=share, metavar="R", help="accept a recall@10 of at least R")
        add_discard_vectors(parser)
        parser.add_argument(
            "--timeout",
            type=seconds,
            default=TIMEOUT_SECONDS,
            metavar="SECONDS",
            help="how long to wait for graphs without progress (default %(default)g)",
        )
        parser.add_argument(
            "--wait", type=seconds, default=SECONDS, metavar="SECONDS", help="how long a server may take for a file (default %(default)g)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["drop_old"]:
            self.drop_old(**options)
            return
        if options["source"] is None:
            raise UserFacingError("SOURCE is missing: nothing was restored. manage.py list_backups DEST shows the names of backups.")
        if options["only"] == "qdrant" and (options["into"] or options["force"]):
            raise UserFacingError("--only qdrant changes no database: nothing was restored. Omit --into and --force.")
        destination, name = open_source(options["source"])
        keys = verifying_keys(options["public_keys"])
        request = self.request(**options)
        with ExitStack() as stack:
            report = stack.enter_context(progress("Restoring"))
            for logger in ("findme.backups", "findme.vectorstore"):
                stack.enter_context(self.printed_steps(logger, as_json=options["json"]))
            if options["dry_run"]:
                self.print_checked(check_restore(destination, name, keys, request, report), as_json=options["json"])
            elif options["only"] == "qdrant":
                self.print_snapshot(restore_only_qdrant(destination, name, keys, request, report), as_json=options["json"])
            else:
                self.print_restored(restore_backup(destination, name, keys, request, report), as_json=options["json"])

    def request(self, **options: Any) -> Request:
        return Request(
            target=connection_into(options["into"]) if options["into"] else connection,
            with_qdrant=not options["into"],
            only="" if options["only"] == "qdrant" else options["only"],
            jobs=options["jobs"],
            identities=read_identities(options["identity"]) if options["identity"] else (),
            force=options["force"],
            with_owners=not options["no_owners"],
            servers=Servers(tuple(options["node"]), options["wait"]),
            min_recall=options["min_recall"],
            discard_vectors=options["discard_vectors"] or 0,
            timeout=options["timeout"],
            folder=options["temporary_folder"],
        )

    def print_checked(self, manifest: Manifest, *, as_json: bool) -> None:
        if as_json:
            self.print_json(manifest)
            return
        self.print_line(f"{manifest.name}: {counted(len(manifest.files), 'file')}, size and checksum as in the manifest.")
        self.print_line("Nothing prevents the restore, and nothing was changed.")

    def print_snapshot(self, done: RestoreResult, *, as_json: bool) -> None:
        if as_json:
            self.print_json(done)
            return
        for line in describe_replaced(done, DiscardLimit()):
            self.print_line(line)

    def print_restored(self, done: Restored, *, as_json: bool) -> None:
        if as_json:
            self.print_json(done)
            return
        for line in describe(done):
            self.print_line(line)

    def drop_old(self, **options: Any) -> None:
        found = old_databases(connection)
        if found and not options["dry_run"]:
            if not options["no_input"]:
                names = ", ".join(one.name for one in found)
                confirm(f"Drop {names} permanently? [y/N] ", "nothing was dropped", self._print_at_once)
            found = drop_old(connection, dry_run=False)
        if options["json"]:
            self.print_json({"dry_run": options["dry_run"], "databases": found})
            return
        would = "would be dropped" if options["dry_run"] else "was dropped"
        for one in found:
            size = "" if one.size is None else f", {one.size:,} bytes"
            self.print_line(f"{one.name}{size}: {would}.")
        if not found:
            self.print_line("No earlier restore has left a database.")
        self.print_line("manage.py reindex_qdrant --drop-retained drops the collections that were replaced.")


def describe(done: Restored) -> list[str]:
    """Return what was restored, a line for each store, and what is left to do."""
    lines = [
        f"{done.backup} is restored in {done.database!r}, with the data of {done.taken_at:%Y-%m-%d %H:%M:%S} UTC.",
        f"PostgreSQL: {counted(done.rows, 'row')}, in {done.postgresql_seconds:.1f} s.",
    ]
    if done.collection is not None:
        how = "from the snapshot" if done.collection.is_from_snapshot else "built from PostgreSQL"
        lines.append(
            f"Qdrant: {counted(done.collection.points, 'point')} of {done.collection.name}, {how}, {done.collection.removed:,} removed and"
            f" {done.collection.written:,} written; 0 differences, in {done.qdrant_seconds:.1f} s."
        )
    else:
        lines.append("Qdrant was not changed. The copy has an id of its own: it needs a QDRANT_COLLECTION of its own, and init_qdrant.")
    if done.repeated is None:
        lines.append("ERASURE_LEDGER_URL is not set: erasures since the backup were not repeated.")
    else:
        lines += [f"{kind}: repeated for {counted(count, 'user')}." for kind, count in done.repeated.items()]
    lines += [
        f"{user_id}: a request for rectification was answered after the backup. Correct the data again, then record and answer it."
        for user_id in done.rectifications
    ]
    if done.old_database is not None:
        lines.append(
            f"What was changed since then is in the old database {done.old_database!r}. manage.py restore --drop-old drops it when you need it no"
            " longer."
        )
    lines.append("Staff cannot log in until manage.py confirm_staff confirms them. Start the services and sync_qdrant again.")
    lines.append(f"{done.seconds:.1f} seconds in all.")
    return lines
