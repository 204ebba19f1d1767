"""What a backup costs others: the time of a writer's statements meanwhile, and memory.

A writer changes one user in each transaction: without a backup, during a bare ``pg_dump -Fc`` to a file, and during a backup. LIMIT: the 95th percentile
is at most 1.2 times the others. The peak memory of ``backup``, ``verify_backup`` and ``restore`` is measured with few and with many users. LIMIT: the same within 10 %.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.backup_load [--users 20000] [--many-users 200000] [--points 2000]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import connection

from benchmarks.measured import Measured, measured
from benchmarks.program import run
from benchmarks.restore import drop_old
from benchmarks.scratch import scratch_database, scratch_store, start

TIMES, WITHIN = 1.2, 1.1
BASELINE_SECONDS = 3.0
CHANGE = "UPDATE users SET bio = %s WHERE id = %s"


def main() -> None:
    options = _options()
    start()
    few, _ = _measure(options.users, options.points, with_writer=False)
    many, waits = _measure(options.many_users, options.points, with_writer=True)
    p95 = {name: statistics.quantiles(found, n=20)[-1] * 1000 for name, found in waits.items()}
    ratios = [p95["backup"] / p95[name] for name in ("nothing", "pg_dump")]
    growth = {action: many[action].mebibytes / few[action].mebibytes for action in few}
    listed = ", ".join(f"{name} {one:.2f} ms ({len(waits[name]):,} transactions)" for name, one in p95.items())
    memory = ", ".join(f"{action} {few[action].mebibytes:.0f} and {many[action].mebibytes:.0f} MiB" for action in few)
    sys.stdout.write(
        f"backup_load: 95th percentile of a writer at {options.many_users:,} users: {listed}\n"
        f"  during a backup {ratios[0]:.2f} times that without, {ratios[1]:.2f} times that during pg_dump (limit {TIMES:g})\n"
        f"  memory at {options.users:,} and {options.many_users:,} users: {memory} (limit {WITHIN:g} times)\n"
    )
    raise SystemExit(0 if max(ratios) <= TIMES and max(growth.values()) <= WITHIN else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--many-users", type=int, default=200_000)
    parser.add_argument("--points", type=int, default=2_000)
    return parser.parse_args()


def _measure(users: int, points: int, *, with_writer: bool) -> tuple[dict[str, Measured], dict[str, list[float]]]:
    from benchmarks.ledger import scratch_ledger
    from benchmarks.users import clustered, give_embeddings, make_users
    from vectorstore.sync.worker import sync_once

    with scratch_database(), scratch_store(), scratch_ledger() as folder:
        user_ids = make_users(users)
        give_embeddings(user_ids, clustered(users))
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM vector_sync_queue WHERE NOT user_id = ANY(%s)", [user_ids[:points]])
            cursor.execute("VACUUM ANALYZE")
        sync_once()
        (folder / "backups").mkdir(mode=0o700)
        found: dict[str, Measured] = {}

        def back_up() -> None:
            found["backup"] = measured(folder, "backup")

        waits: dict[str, list[float]] = {}
        if with_writer:
            works: dict[str, Callable[[], object]] = {
                "nothing": lambda: time.sleep(BASELINE_SECONDS),
                "pg_dump": lambda: _dump(folder / "bare.dump"),
                "backup": back_up,
            }
            waits = {name: _written_during(work, [str(one) for one in user_ids]) for name, work in works.items()}
        else:
            back_up()
        found["verify_backup"] = measured(folder, "verify_backup")
        connection.close()
        settings.BACKUP_JOURNAL = str(folder / "restore.json")
        found["restore"] = measured(folder, "restore")
        drop_old()
        return found, waits


def _written_during(work: Callable[[], object], user_ids: list[str]) -> list[float]:
    """Return the seconds of each transaction of a writer while the work is done."""
    seconds: list[float] = []
    is_over = threading.Event()
    session = connection.copy()

    def write() -> None:
        with session.cursor() as cursor:
            while not is_over.wait(0.005):
                begun = time.perf_counter()
                cursor.execute(CHANGE, [f"Text {len(seconds)}", user_ids[len(seconds) * 7919 % len(user_ids)]])
                seconds.append(time.perf_counter() - begun)
        session.close()

    session.inc_thread_sharing()
    thread = threading.Thread(target=write)
    thread.start()
    try:
        work()
    finally:
        is_over.set()
        thread.join()
    return seconds


def _dump(file: Path) -> None:
    from backups.postgresql.connection import program_connection
    from findme.core.postgresql.programs import find_program

    program = find_program("pg_dump", connection.connection.info.server_version // 10_000)
    target = program_connection(connection)
    command = [str(program.path), f"--dbname={target.conninfo}", "--format=custom", f"--file={file}"]
    subprocess.run(command, env=target.environment, check=True)  # noqa: S603  # a program of PostgreSQL


if __name__ == "__main__":
    run(main)
