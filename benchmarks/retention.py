"""Speed of ``apply_retention`` that erases inactive users. Baseline: a bare DELETE of as many users, and a bare deletion of their points.

Both erase in turn, among the same users, and each begins when Qdrant has rewritten its segments. The rule also records each erasure in the ledger and in the audit log, and reads back that every point is gone.
GOAL: at most 4 times the baseline.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.retention [--users 10000] [--rounds 2]

Without a server it uses the embedded store, at a small size.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import connection

from benchmarks.program import run
from benchmarks.scratch import size, start, timed
from findme.core.errors import UserFacingError

GOAL = 4.0
INACTIVE_DAYS = 400


def main() -> None:
    options = _options()
    start()
    from benchmarks.filled import filled_stores
    from privacy.retention_policy import approve, current_policy

    bare: list[float] = []
    applied: list[float] = []
    with tempfile.TemporaryDirectory(prefix="findme-benchmark-") as folder, filled_stores(2 * options.rounds * options.users) as (kind, _):
        _use_ledger(Path(folder))
        settings.RETENTION_RULES = {"inactive_users": INACTIVE_DAYS}
        approve(current_policy(), current_policy().version)
        shares = _parts(_all_users(), options.users)
        for left, right in zip(shares[::2], shares[1::2], strict=True):
            _age([*left, *right])
            _wait_for_optimizer()
            bare.append(timed(partial(_delete, left)))
            _forget()
            _wait_for_optimizer()
            applied.append(timed(partial(_apply, len(right))))
    deleted, erased = statistics.median(bare), statistics.median(applied)
    sys.stdout.write(
        f"retention: {options.users:,} users, medians of {options.rounds} rounds in turn; {kind}\n"
        f"  bare deletions {deleted:6.2f} s, apply_retention {erased:6.2f} s, ratio {erased / deleted:.2f} (goal: at most {GOAL:.0f})\n"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=size(10_000, 500))
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


def _use_ledger(folder: Path) -> None:
    from privacy.ledger.keys import create_keys
    from privacy.ledger.signing import create_signing_key

    (folder / "ledger").mkdir(mode=0o700)
    settings.ERASURE_LEDGER_URL = str(folder / "ledger")
    settings.ERASURE_LEDGER_KEYS, settings.PRIVACY_SIGNING_KEY = str(folder / "keys.json"), str(folder / "key.pem")
    create_keys(folder / "keys.json")
    create_signing_key(folder / "key.pem")


def _all_users() -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM users ORDER BY id")
        return [user_id for (user_id,) in cursor.fetchall()]


def _age(user_ids: Sequence[UUID]) -> None:
    """Make the users inactive, and wait until their points are up to date."""
    from vectorstore.sync.worker import sync_once

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE users DISABLE TRIGGER update_users_updated_at")
        cursor.execute(
            "UPDATE users SET created_at = t, updated_at = t, last_login = t FROM (SELECT now() - interval '500 days' AS t) AS old"
            " WHERE id = ANY(%s::uuid[])",
            [list(user_ids)],
        )
        cursor.execute("ALTER TABLE users ENABLE TRIGGER update_users_updated_at; ANALYZE users")
    sync_once()


def _delete(user_ids: Sequence[UUID]) -> None:
    from qdrant_client.models import PointIdsList

    from vectorstore.qdrant.connection import collection_name, qdrant

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = ANY(%s::uuid[])", [list(user_ids)])
    with qdrant() as client:
        for batch in _parts(user_ids, 1000):
            client.delete(collection_name(), PointIdsList(points=[str(user_id) for user_id in batch]), wait=True)


def _forget() -> None:
    """Delete what the triggers have noted of the bare DELETE."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM pending_actions; DELETE FROM vector_sync_queue")


def _wait_for_optimizer() -> None:
    """Wait until Qdrant has rewritten its segments. It does so after a deletion, and takes the time of what is measured next."""
    from benchmarks.filled import wait_for_green
    from vectorstore.qdrant.connection import is_embedded

    if not is_embedded():
        wait_for_green()


def _parts(user_ids: Sequence[UUID], length: int) -> list[Sequence[UUID]]:
    return [user_ids[begin : begin + length] for begin in range(0, len(user_ids), length)]


def _apply(expected: int) -> None:
    from privacy.retention.apply import apply
    from privacy.retention_policy import current_policy

    (result,) = apply(current_policy())
    if (result.count, result.waiting) != (expected, 0):
        raise UserFacingError(f"{result.count} of {expected} users were erased, and {result.waiting} must wait.")


if __name__ == "__main__":
    run(main)
