"""Restore a backup next to the live stores, and let it take their place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandParser
from django.db import connection

from backups.contents import StoredBackup
from backups.listing import manifest_in
from backups.management.backup_arguments import open_source
from backups.qdrant import Servers
from backups.restoring.into import connection_into
from backups.restoring.old_databases import drop_old, old_databases
from backups.restoring.only_qdrant import restore_only_qdrant
from backups.restoring.restore import Request, Restored, check_restore, end_interrupted, restore_source, restore_tables
from backups.restoring.sources import BackupSource, DumpSource, Source
from backups.restoring.tables import TableResult
from backups.streams.keys import read_identities
from backups.verify import verify_backup
from findme.core.commands.arguments import add_discard_vectors, at_least_one, seconds, share
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import Report, progress
from findme.core.commands.prompts import confirm
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from privacy.ledger.signing import verifying_keys
from vectorstore.rebuild.build import TIMEOUT_SECONDS
from vectorstore.rebuild.promote import describe_replaced
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.snapshots.repository import SECONDS
from vectorstore.snapshots.restore import RestoreResult

if TYPE_CHECKING:
    from privacy.ledger.signing import VerifyingKeys

JOBS = 2
"""Sessions that restore the dump. More help on a server with more processors."""


class Command(FindmeCommand):
    help = "Restore a backup next to the live stores, prove it, and let it take their place."
    after_interrupt = "What serves was not changed, unless a line above says so. Run it again: it first finishes or undoes what is left."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "source",
            nargs="?",
            metavar="SOURCE",
            help="a backup: its destination, a slash and its name; or a file of pg_dump: .sql, .sql.gz or custom format",
        )
        parser.add_argument(
            "--only",
            choices=["postgres", "qdrant"],
            default="",
            help="postgres: build the collection from PostgreSQL instead of taking the snapshot; qdrant: only the snapshot, PostgreSQL stays",
        )
        parser.add_argument(
            "--tables",
            default="",
            metavar="NAMES",
            help="only bring back the rows of these tables, separated by commas, that are missing; nothing else is changed",
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
        request, as_json = self.request(**options), options["json"]
        tables = tuple(filter(None, (name.strip() for name in options["tables"].split(","))))
        with ExitStack() as stack:
            report = stack.enter_context(progress("Restoring"))
            for logger in ("findme.backups", "findme.vectorstore"):
                stack.enter_context(self.printed_steps(logger, as_json=as_json))
            if not options["dry_run"]:
                end_interrupted(request.target)
            if options["drop_old"]:
                self.drop_old(**options)
                return
            _require_fitting(options)
            if options["only"] == "qdrant":
                self.print_snapshot(restore_only_qdrant(*_backup(options), request, report), as_json=as_json)
                return
            source = _source(options, report)
            if tables:
                found = restore_tables(source, tables, request, dry_run=options["dry_run"], report=report)
                self.print_tables(found, dry_run=options["dry_run"], as_json=as_json)
            elif options["dry_run"]:
                check_restore(source, request)
                self.print_checked(source, as_json=as_json)
            else:
                self.print_restored(restore_source(source, request, report), as_json=as_json)

    def request(self, **options: Any) -> Request:
        return Request(
            target=connection_into(options["into"]) if options["into"] else connection,
            with_qdrant=not options["into"],
            only="" if options["only"] == "qdrant" else options["only"],
            jobs=options["jobs"],
            force=options["force"],
            with_owners=not options["no_owners"],
            servers=Servers(tuple(options["node"]), options["wait"]),
            min_recall=options["min_recall"],
            discard_vectors=options["discard_vectors"] or 0,
            timeout=options["timeout"],
            folder=options["temporary_folder"],
        )

    def print_checked(self, source: Source, *, as_json: bool) -> None:
        if as_json:
            self.print_json({"dry_run": True, "backup": source.name})
            return
        self.print_line(f"{source.name}: nothing prevents the restore, and nothing was changed.")

    def print_tables(self, found: Sequence[TableResult], *, dry_run: bool, as_json: bool) -> None:
        if as_json:
            self.print_json({"dry_run": dry_run, "tables": [one.as_json() for one in found]})
            return
        for one in found:
            self.print_line(str(one))
        self.print_line("Nothing was changed." if dry_run else "sync_qdrant writes the points of the users that came back.")

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
        f"{done.backup} is restored in {done.database!r}"
        + ("." if done.taken_at is None else f", with the data of {done.taken_at:%Y-%m-%d %H:%M:%S} UTC."),
        f"PostgreSQL: {'' if done.rows is None else counted(done.rows, 'row') + ', '}{done.postgresql_seconds:.1f} s.",
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
            " longer. Until then it accepts no connections."
        )
    lines.append("Staff cannot log in until manage.py confirm_staff confirms them. Start the services and sync_qdrant again.")
    lines.append(f"{done.seconds:.1f} seconds in all.")
    return lines


def _require_fitting(options: dict[str, Any]) -> None:
    """Raise UserFacingError for options that do not belong together."""
    if options["source"] is None:
        raise UserFacingError("SOURCE is missing: nothing was restored. manage.py list_backups DEST shows the names of backups.")
    if options["only"] == "qdrant" and (options["into"] or options["force"] or options["dry_run"]):
        raise UserFacingError("--only qdrant changes no database: nothing was restored. Omit --into, --force and --dry-run.")
    if options["tables"] and (options["into"] or options["force"] or options["only"]):
        raise UserFacingError("--tables adds rows to the live database: nothing was restored. Omit --into, --force and --only.")


def _backup(options: dict[str, Any]) -> tuple[StoredBackup, VerifyingKeys]:
    destination, name = open_source(options["source"])
    identities = read_identities(options["identity"]) if options["identity"] else ()
    return StoredBackup(destination, name, identities), verifying_keys(options["public_keys"])


def _source(options: dict[str, Any], report: Report) -> Source:
    """Return what SOURCE names: a file, or a backup. With ``--dry-run``, every byte of the backup was compared with its manifest."""
    path = Path(options["source"])
    if path.is_file():
        return DumpSource(path)
    stored, keys = _backup(options)
    manifest = manifest_in(stored.destination, stored.name, keys)
    if manifest.tables and not options["tables"]:
        raise UserFacingError(
            f"{stored.name!r} has some tables only: nothing was restored. --tables brings back the rows of these that are missing."
        )
    if options["dry_run"] and not options["tables"]:
        verify_backup(stored.destination, stored.name, keys, stored.identities, report)
    return BackupSource(stored, manifest)
