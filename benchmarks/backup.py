"""Time of a backup. Baseline: ``pg_dump -Fc`` with gzip 1 to a file, and on a server a snapshot and its download.

All write into the same folder, in turn. The database has users with embeddings, and matches. LIMITS: 1.25 times the baseline with gzip 1, half of the
baseline with the default compression of ``pg_dump``, and with encryption 1.15 times the time without. The digests of the tables, measured alone, are
at most 20 % of a backup.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.backup [--users 50000] [--points 20000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import connection

from benchmarks.erasure import MATCHES
from benchmarks.program import run
from benchmarks.scratch import scratch_database, scratch_store, size, start, timed

TIMES, TIMES_OF_DEFAULT, TIMES_ENCRYPTED, SHARE = 1.25, 0.5, 1.15, 0.2


def main() -> None:
    options = _options()
    start()
    from benchmarks.ledger import scratch_ledger
    from benchmarks.users import clustered, give_embeddings, make_users
    from vectorstore.sync.worker import sync_once

    with scratch_database(), scratch_store() as kind, scratch_ledger() as folder:
        user_ids = make_users(options.users)
        give_embeddings(user_ids, clustered(options.users))
        with connection.cursor() as cursor:
            cursor.execute(MATCHES)
            cursor.execute("DELETE FROM vector_sync_queue WHERE NOT user_id = ANY(%s)", [user_ids[: options.points]])
            cursor.execute("VACUUM ANALYZE")
        sync_once()
        place = folder / "backups"
        place.mkdir(mode=0o700)
        works = _works(place)
        for work in works.values():  # opens connections, and imports
            work()
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(options.rounds):
            for name, work in works.items():
                shutil.rmtree(place)
                place.mkdir(mode=0o700)
                seconds[name].append(timed(work))
    median = {name: statistics.median(found) for name, found in seconds.items()}
    ratio, of_default = median["backup"] / median["gzip 1"], median["backup"] / median["default"]
    encrypted, share = median["encrypted"] / median["backup"], median["digests"] / median["backup"]
    listed = ", ".join(f"{name} {one:.2f} s ({min(seconds[name]):.2f} to {max(seconds[name]):.2f})" for name, one in median.items())
    sys.stdout.write(
        f"backup: {options.users:,} users, medians of {options.rounds} rounds in turn; {kind}\n"
        f"  {listed}\n"
        f"  backup: {ratio:.2f} times the baseline with gzip 1 (limit {TIMES:g}), {of_default:.2f} times the one with the default (limit"
        f" {TIMES_OF_DEFAULT:g})\n"
        f"  encrypted: {encrypted:.2f} times the backup (limit {TIMES_ENCRYPTED:g}); digests alone: {share:.2f} of it (limit {SHARE:g})\n"
    )
    within = ratio <= TIMES and of_default <= TIMES_OF_DEFAULT and encrypted <= TIMES_ENCRYPTED and share <= SHARE
    raise SystemExit(0 if within else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--points", type=int, default=size(20_000, 1_000))
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _works(place: Path) -> dict[str, Callable[[], object]]:
    import pyrage

    from backups.create import Request, create_backup
    from backups.destinations.opening import open_destination
    from backups.postgresql.digests import table_digests
    from backups.postgresql.tables import dumped_tables
    from backups.qdrant import Servers
    from backups.streams.keys import Recipient, parse_recipient

    recipient = parse_recipient(str(pyrage.x25519.Identity.generate().to_public()))
    destination = open_destination(str(place))

    def back_up(*recipients: Recipient) -> None:
        create_backup(destination, Request("", (), recipients, Servers((), 600)))

    return {
        "gzip 1": lambda: _bare(place, "--compress=gzip:1"),
        "default": lambda: _bare(place),
        "backup": back_up,
        "encrypted": lambda: back_up(recipient),
        "digests": lambda: table_digests(connection, dumped_tables(connection)),
    }


def _bare(place: Path, *options: str) -> None:
    """Dump to a file, then copy a snapshot of a server into the folder."""
    from backups.postgresql.connection import program_connection
    from findme.core.postgresql.programs import find_program

    program = find_program("pg_dump", connection.connection.info.server_version // 10_000)
    target = program_connection(connection)
    file = place / "bare.dump"
    subprocess.run(  # noqa: S603  # a program of PostgreSQL
        [str(program.path), f"--dbname={target.conninfo}", "--format=custom", f"--file={file}", *options],
        env=target.environment,
        check=True,
    )
    if settings.QDRANT_URL:
        from vectorstore.snapshots.repository import create, delete, fetch

        for one in create():
            fetch(one.name, place)
            delete([one.name])


if __name__ == "__main__":
    run(main)
