"""Time of a restore. Baseline: ``pg_restore -j2`` of a bare dump into an empty database, and on a server the upload of a bare snapshot.

The restore has both stores compared with the manifest and with each other, the erasures since the backup repeated, and the switch. LIMIT: 1.5 times the
baseline. A restore that builds the collection from PostgreSQL is printed.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.restore [--users 50000] [--points 20000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from django.conf import settings
from django.db import connection

from benchmarks.erasure import MATCHES
from benchmarks.program import run
from benchmarks.scratch import empty_database, scratch_database, scratch_store, size, start, timed

if TYPE_CHECKING:
    from backups.contents import StoredBackup
    from backups.manifest import Manifest

TIMES = 1.5
JOBS = 2
TIMEOUT_SECONDS = 300.0


def main() -> None:
    options = _options()
    start()
    from benchmarks.ledger import scratch_ledger
    from benchmarks.users import clustered, give_embeddings, make_users
    from vectorstore.qdrant.connection import collection_name
    from vectorstore.rebuild.build import wait_for_graphs
    from vectorstore.sync.worker import sync_once

    with scratch_database(), scratch_store() as kind, scratch_ledger() as folder:
        settings.BACKUP_JOURNAL = str(folder / "restore.json")
        user_ids = make_users(options.users)
        give_embeddings(user_ids, clustered(options.users))
        with connection.cursor() as cursor:
            cursor.execute(MATCHES)
            cursor.execute("DELETE FROM profile_embeddings WHERE NOT user_id = ANY(%s)", [user_ids[: options.points]])
            cursor.execute("VACUUM ANALYZE")
        sync_once()
        # The graphs of a service are built, and a snapshot has them.
        wait_for_graphs(collection_name(), TIMEOUT_SECONDS)
        works = _works(folder)
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(options.rounds):
            for name, work in works.items():
                seconds[name].append(timed(work))
                drop_old()
    median = {name: statistics.median(found) for name, found in seconds.items()}
    ratio, rebuilt = median["restore"] / median["bare"], median["rebuild"] / median["bare"]
    listed = ", ".join(f"{name} {one:.2f} s ({min(seconds[name]):.2f} to {max(seconds[name]):.2f})" for name, one in median.items())
    sys.stdout.write(
        f"restore: {options.users:,} users, {options.points:,} points, medians of {options.rounds} rounds in turn; {kind}\n"
        f"  {listed}\n"
        f"  restore: {ratio:.2f} times the baseline (limit {TIMES:g}); with the collection built from PostgreSQL {rebuilt:.2f} times\n"
    )
    raise SystemExit(0 if ratio <= TIMES else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--points", type=int, default=size(20_000, 1_000))
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _works(folder: Path) -> dict[str, Callable[[], object]]:
    from backups.contents import StoredBackup
    from backups.create import Request as BackupRequest
    from backups.create import create_backup
    from backups.destinations.opening import open_destination
    from backups.qdrant import Servers

    place = folder / "backups"
    place.mkdir(mode=0o700)
    destination = open_destination(str(place))
    manifest = create_backup(destination, BackupRequest("", (), (), Servers((), 600)))
    backup, bare = StoredBackup(destination, manifest.name, ()), _Bare(folder)
    return {
        "bare": bare.restore,
        "restore": lambda: restore_backup(backup, manifest),
        "rebuild": lambda: restore_backup(backup, manifest, only="postgres"),
    }


def restore_backup(backup: StoredBackup, manifest: Manifest, *, only: Literal["", "postgres"] = "") -> None:
    """Restore both stores over the live ones."""
    from backups.qdrant import Servers
    from backups.restoring.restore import Request, restore_source
    from backups.restoring.sources import BackupSource

    request = Request(
        target=connection,
        with_qdrant=True,
        only=only,
        jobs=JOBS,
        force=True,
        with_owners=True,
        servers=Servers((), 600),
        min_recall=0.0,
        discard_vectors=0,
        timeout=600,
        folder=None,
    )
    restore_source(BackupSource(backup, manifest), request)


def drop_old() -> None:
    """Drop the database and the collections that a restore has replaced."""
    from backups.restoring.old_databases import drop_old
    from vectorstore.rebuild.reindex import drop_retained

    drop_old(connection, dry_run=False)
    drop_retained()


class _Bare:
    """A dump and a snapshot, as the programs themselves make them."""

    def __init__(self, folder: Path) -> None:
        self.dump, self.snapshots = folder / "bare.dump", list[Path]()
        self._run("pg_dump", "--format=custom", "--compress=gzip:1", f"--file={self.dump}")
        if settings.QDRANT_URL:
            from vectorstore.snapshots.repository import create, delete, fetch

            for one in create():
                self.snapshots.append(fetch(one.name, folder).path)
                delete([one.name])

    def restore(self) -> None:
        with empty_database("template0"):
            self._run("pg_restore", "--exit-on-error", f"--jobs={JOBS}", str(self.dump))
        for path in self.snapshots:
            self._upload(path)

    def _run(self, name: str, *options: str) -> None:
        from backups.postgresql.connection import program_connection
        from findme.core.postgresql.programs import find_program

        connection.ensure_connection()
        program = find_program(name, connection.connection.info.server_version // 10_000)
        target = program_connection(connection)
        command = [str(program.path), f"--dbname={target.conninfo}", *options]
        subprocess.run(command, env=target.environment, check=True)  # noqa: S603  # a program of PostgreSQL

    def _upload(self, path: Path) -> None:
        from findme.core.commands.progress import ignore_progress
        from vectorstore.qdrant.address import server_address
        from vectorstore.qdrant.connection import qdrant
        from vectorstore.snapshots.transfer import sha256_of, upload

        name = f"{settings.QDRANT_COLLECTION}_bare"
        checksum = sha256_of(path, ignore_progress)
        upload(server_address(), name, path, checksum, name=path.name, seconds=600, report=ignore_progress)
        with qdrant() as client:
            client.delete_collection(name)


if __name__ == "__main__":
    run(main)
