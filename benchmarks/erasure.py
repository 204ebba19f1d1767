"""Time of one erasure, with plan, ledger and steps. Baseline: its parts without them.

The baseline locks the user, counts what is deleted, deletes the rows and the point, reads the point back, and adds an entry to the audit log. Both erase
users with matches and a point, in turn. The ledger is a folder, so its entry is written and synced to the disk before anything is destroyed.
The times are measured with few and with many users in PostgreSQL. The collection has a point for ``--points`` of them. LIMITS: 3 times the time of the
baseline, and with many users 1.5 times the time with few.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.erasure [--users 20000] [--many-users 200000] [--points 20000] [--rounds 30]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.db import connection

from benchmarks.program import run
from benchmarks.scratch import scratch_database, scratch_store, size, start, timed
from findme.core.errors import UserFacingError

TIMES, GROWTH = 3.0, 1.5
MATCHES = """
    WITH numbered AS (SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM users)
    INSERT INTO matches (user_id, matched_user_id, week_number, year, match_score, expires_at)
    SELECT a.id, b.id, 1 + k, 2026, 0.5, NOW()
    FROM generate_series(1, 5) k CROSS JOIN numbered a JOIN numbered b ON b.number = (a.number + k) % (SELECT count(*) FROM users)
"""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Medians of one size."""

    users: int
    bare: float
    recorded: float


def main() -> None:
    options = _options()
    start()
    found = [_measure(users, min(options.points, users), options.rounds) for users in (options.users, options.many_users)]
    ratio, growth = max(one.recorded / one.bare for one in found), found[1].recorded / found[0].recorded
    for one in found:
        sys.stdout.write(
            f"erasure: {one.users:,} users, medians of {options.rounds} in turn: without them {1000 * one.bare:.1f} ms,"
            f" with plan, ledger and steps {1000 * one.recorded:.1f} ms, ratio {one.recorded / one.bare:.2f} (limit {TIMES:g})\n"
        )
    sys.stdout.write(f"  {growth:.2f} times from {found[0].users:,} to {found[1].users:,} users (limit {GROWTH:g})\n")
    raise SystemExit(0 if ratio <= TIMES and growth <= GROWTH else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=size(20_000, 2_000))
    parser.add_argument("--many-users", type=int, default=size(200_000, 20_000))
    parser.add_argument("--points", type=int, default=size(20_000, 1_000))
    parser.add_argument("--rounds", type=int, default=30)
    return parser.parse_args()


def _measure(users: int, points: int, rounds: int) -> Seconds:
    from benchmarks.ledger import scratch_ledger
    from benchmarks.users import clustered, give_embeddings, make_users
    from privacy.actions.erase import erase
    from vectorstore.sync.worker import sync_once

    bare: list[float] = []
    recorded: list[float] = []
    with scratch_database(), scratch_store(), scratch_ledger():
        user_ids = make_users(users)
        give_embeddings(user_ids[:points], clustered(points))
        with connection.cursor() as cursor:
            cursor.execute(MATCHES)
            cursor.execute("DELETE FROM vector_sync_queue WHERE NOT user_id = ANY(%s)", [user_ids[:points]])
            cursor.execute("VACUUM ANALYZE")
        sync_once()
        erase(user_ids[0])  # opens connections, and imports
        for number in range(rounds):
            first, second = user_ids[1 + 2 * number], user_ids[2 + 2 * number]
            bare.append(timed(partial(_erase_without_ledger, first)))
            recorded.append(timed(partial(erase, second)))
            _require_gone(first, second)
    return Seconds(users, statistics.median(bare), statistics.median(recorded))


def _erase_without_ledger(user_id: UUID) -> None:
    from privacy.actions.locking import check_deferred_constraints, locked_user
    from privacy.actions.stores import remove_from_stores, store_sessions
    from privacy.audit import Action, record
    from privacy.registry import registry

    with store_sessions(), locked_user(user_id):
        for owner in registry.owners:
            owner.after_erasure(user_id)
        for owner in registry.owners:
            owner.erase(user_id)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM users WHERE id = %s", [user_id])
        record(Action.ERASE, user_id, actor_id=None)
        check_deferred_constraints()
        remove_from_stores(user_id)


def _require_gone(*user_ids: UUID) -> None:
    from privacy.users import user_exists

    if any(user_exists(user_id) for user_id in user_ids):
        raise UserFacingError("A user of the benchmark was not erased.")


if __name__ == "__main__":
    run(main)
