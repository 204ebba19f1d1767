"""Cost of the triggers in a bulk COPY into ``users`` and into ``profile_embeddings``.

Two groups of triggers are measured: those that queue changed users, and those that refuse data of erased users. Each round copies the same
bytes twice, once with the triggers and once without, COMMIT included. The order alternates. Before each COPY the rows of the last one are
deleted. Every existing user has an embedding. The program prints the median of the ratios.

LIMITS: at most 1.25 times the time for the triggers of the queue. For the check for erased users, at most 1.05 times for users and 1.25 times
for embeddings: there it locks the users, in addition to the lock of the foreign key.

    python -m benchmarks.capture [--rows 50000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction

from benchmarks.program import run
from benchmarks.scratch import scratch_database, start


@dataclass(frozen=True)
class Triggers:
    """A group of triggers, and the highest ratio that is allowed."""

    what: str
    pattern: str
    """Regular expression for the names of the triggers."""
    limits: Mapping[str, float]
    """Highest ratio, by table."""


CAPTURE = Triggers("the capture", "^vector_sync_", {"users": 1.25, "profile_embeddings": 1.25})
ERASED = Triggers("the check for erased users", "erased_users_", {"users": 1.05, "profile_embeddings": 1.25})

EMBEDDINGS = "COPY profile_embeddings (user_id, vector) FROM STDIN (FORMAT BINARY)"
USERS = "COPY users (id, email, password_hash, full_name, date_of_birth, gender, bio) FROM STDIN"


def main() -> None:
    options = _options()
    start()
    from benchmarks.users import make_users

    with scratch_database():
        user_ids = make_users(options.rows)
        embeddings = _embeddings(user_ids)
        results = _compare_all("profile_embeddings", EMBEDDINGS, embeddings, "TRUNCATE profile_embeddings", options)
        _copy(EMBEDDINGS, embeddings)
        results += _compare_all("users", USERS, _new_users(user_ids), "DELETE FROM users WHERE bio = 'new'", options)
    raise SystemExit(0 if all(results) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _embeddings(user_ids: Sequence[UUID]) -> bytes:
    from benchmarks.users import clustered
    from vectorstore.ingest import binary_copy

    vectors = clustered(len(user_ids))
    rows = (binary_copy.line([user_id.bytes, binary_copy.reals(vector)]) for user_id, vector in zip(user_ids, vectors, strict=True))
    return binary_copy.BEGIN + b"".join(rows) + binary_copy.END


def _new_users(user_ids: Sequence[UUID]) -> bytes:
    """Return as many other users, without embeddings, as text for COPY."""
    return "".join(
        f"{UUID(int=user_id.int ^ 1)}\tnew{number}@example.com\tnot-a-hash\tNew User {number}\t1990-01-{1 + number % 28:02}\tother\tnew\n"
        for number, user_id in enumerate(user_ids)
    ).encode()


def _compare_all(table: str, statement: str, copied: bytes, undo: str, options: argparse.Namespace) -> list[bool]:
    return [_compare(table, statement, copied, undo, options, triggers) for triggers in (CAPTURE, ERASED)]


def _compare(table: str, statement: str, copied: bytes, undo: str, options: argparse.Namespace, triggers: Triggers) -> bool:
    """Print the median of the ratios, with and without the triggers, and return whether it is within the limit."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(options.rounds):
        for enabled in (number % 2 == 0, number % 2 == 1):
            _enable(table, triggers, enabled)
            _prepare(undo, table)
            begun = time.perf_counter()
            _copy(statement, copied)
            seconds[enabled].append(time.perf_counter() - begun)
    _enable(table, triggers, True)
    _prepare(undo, table)
    ratios = [with_it / without for with_it, without in zip(seconds[True], seconds[False], strict=True)]
    sys.stdout.write(
        f"COPY of {options.rows:,} rows into {table}, {options.rounds} pairs, {triggers.what}:"
        f" {statistics.median(seconds[False]):.2f} s without the triggers, {statistics.median(seconds[True]):.2f} s with them,"
        f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; at most {triggers.limits[table]})\n"
    )
    return statistics.median(ratios) <= triggers.limits[table]


def _enable(table: str, triggers: Triggers, enabled: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal AND tgname ~ %s", [table, triggers.pattern]
        )
        names = [name for (name,) in cursor.fetchall()]
    for name in names:
        _execute(f"ALTER TABLE {table} {'ENABLE ALWAYS' if enabled else 'DISABLE'} TRIGGER {name}")


def _prepare(undo: str, table: str) -> None:
    for statement in (
        undo,
        "DELETE FROM erased_users",
        "TRUNCATE vector_sync_queue",
        f"VACUUM ANALYZE {table}",
        "VACUUM vector_sync_queue",
        "CHECKPOINT",
    ):
        _execute(statement)


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _copy(statement: str, copied: bytes) -> None:
    with transaction.atomic(), connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(copied)


if __name__ == "__main__":
    run(main)
