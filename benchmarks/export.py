"""Time, memory and queries of an export of one user with many rows. Baseline: a server-side cursor that writes the same rows as JSON.

The rows are matches. The bare cursor reads the same columns and writes one JSON object a row to a file. Memory and queries are compared with an
export of a user without rows. Both exports run in a process of their own. LIMITS: 3 times the time of the cursor, 64 MiB more, and the same number of
queries.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.export [--rows 100000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from benchmarks.program import run
from benchmarks.scratch import scratch_database, scratch_store, start, timed

TIMES, MEBIBYTES = 3.0, 64
MATCHES = """
    INSERT INTO matches (user_id, matched_user_id, week_number, year, match_score, expires_at)
    SELECT %s, others.id, 1 + number %% 50, 2000 + number / 50, 0.5, NOW()
    FROM generate_series(0, %s) number CROSS JOIN unnest(%s::uuid[]) AS others(id)
"""
OTHERS = 100


def main() -> None:
    options = _options()
    start()
    from benchmarks.ledger import scratch_ledger
    from benchmarks.measured import measured
    from benchmarks.users import clustered, give_embeddings, make_users
    from vectorstore.sync.worker import sync_once

    bare = []
    with scratch_database(), scratch_store() as kind, scratch_ledger() as folder:
        if not settings.QDRANT_URL:
            folder = Path(settings.QDRANT_PATH).parent
        empty, full, *others = users = make_users(OTHERS + 2)
        give_embeddings(users, clustered(len(users)))
        sync_once()
        with connection.cursor() as cursor:
            cursor.execute(MATCHES, [full, options.rows // OTHERS - 1, others])
            cursor.execute("VACUUM ANALYZE")
        without = measured(folder, "export", str(empty))
        found = []
        for _ in range(options.rounds):
            bare.append(timed(lambda: _write_rows(full, folder / "rows.json")))
            found.append(measured(folder, "export", str(full)))
    seconds = statistics.median(one.seconds for one in found)
    ratio, more = seconds / statistics.median(bare), max(one.mebibytes for one in found) - without.mebibytes
    queries = found[0].queries - without.queries
    sys.stdout.write(
        f"export: {options.rows:,} rows, medians of {options.rounds} rounds in turn; {kind}\n"
        f"  bare cursor {statistics.median(bare):.2f} s, export {seconds:.2f} s, ratio {ratio:.2f} (limit {TIMES:g})\n"
        f"  {more:.0f} MiB more than without rows (limit {MEBIBYTES}), {found[0].queries} queries, {queries} more\n"
    )
    raise SystemExit(0 if ratio <= TIMES and more <= MEBIBYTES and not queries else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help=f"a multiple of {OTHERS}")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _write_rows(user_id: UUID, path: Path) -> None:
    with transaction.atomic(), path.open("w") as file, connection.connection.cursor(name="rows") as cursor:
        cursor.itersize = 2000
        cursor.execute("SELECT * FROM matches WHERE user_id = %s OR matched_user_id = %s", [user_id, user_id])
        names = [column.name for column in cursor.description or ()]
        for row in cursor:
            file.write(json.dumps(dict(zip(names, row, strict=True)), default=str) + "\n")


if __name__ == "__main__":
    run(main)
