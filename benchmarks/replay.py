"""Time and memory of ``replay_erasures`` after a restore that lost nothing: it reads the whole ledger and every id, and finds nothing to do.

Every entry is the erasure of a user who is gone. LIMITS: 30 seconds and 300 MiB with the default sizes.

    python -m benchmarks.replay [--users 1000000] [--entries 100000]
"""

from __future__ import annotations

import argparse
import sys

from django.db import connection

from benchmarks.program import run
from benchmarks.scratch import scratch_database, start

SECONDS, MEBIBYTES = 30, 300
SLICE = 50_000


def main() -> None:
    options = _options()
    start()
    from benchmarks.ledger import record_erasures, scratch_ledger
    from benchmarks.measured import measured
    from benchmarks.users import make_users

    with scratch_database(), scratch_ledger() as folder:
        erased = make_users(options.entries)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM users")
            cursor.execute("DELETE FROM pending_actions")
        record_erasures(erased)
        for number, first in enumerate(range(0, options.users, SLICE)):
            _more_users(min(SLICE, options.users - first), number)
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE vector_sync_queue")
            cursor.execute("VACUUM ANALYZE")
        found = measured(folder, "replay")
    sys.stdout.write(
        f"replay: {options.entries:,} entries, {options.users:,} users, nothing to do: {found.seconds:.1f} s (limit {SECONDS}),"
        f" of them {found.processor_seconds:.1f} s of the processor in Python; {found.mebibytes:.0f} MiB (limit {MEBIBYTES}),"
        f" {found.queries:,} queries\n"
    )
    raise SystemExit(0 if found.seconds <= SECONDS and found.mebibytes <= MEBIBYTES else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=100_000)
    return parser.parse_args()


def _more_users(count: int, number: int) -> None:
    """Insert ``count`` users. ``number`` makes their addresses different."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO users (email, password_hash, full_name, date_of_birth, gender, verified)
            SELECT format('user%%s.%%s@example.com', %s::int, n), '', 'User ' || n, '1990-01-01', 'other', true FROM generate_series(1, %s) n
            """,
            [number, count],
        )


if __name__ == "__main__":
    run(main)
