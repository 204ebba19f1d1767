"""What triggers add to a bulk COPY into ``users`` and into ``profile_embeddings``, as migrated: those that queue people, and those that refuse the data of
erased users.

Each round copies the same bytes twice, with the triggers and with them disabled, in an order that changes from round to round, COMMIT included;
in between, the rows are taken out again. Everybody who is there before has an embedding. Printed is the median of the rounds' ratios.
PROMISES: at most 1.25 times the time for the former. For the latter at most 1.05 times for users, and 1.25 times for embeddings, whose users are
locked as well, once more than the foreign key does.

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
    """What is measured together, and how many times as long the COPY may take at the most."""

    what: str
    pattern: str
    """Of the names of the triggers, for ``~``."""
    promises: Mapping[str, float]
    """By table."""


CAPTURE = Triggers("the capture", "^vector_sync_", {"users": 1.25, "profile_embeddings": 1.25})
ERASED = Triggers("the check for erased users", "erased_users_", {"users": 1.05, "profile_embeddings": 1.25})

EMBEDDINGS = "COPY profile_embeddings (user_id, vector) FROM STDIN (FORMAT BINARY)"
USERS = "COPY users (id, email, password_hash, full_name, date_of_birth, gender, bio) FROM STDIN"


def main() -> None:
    options = _options()
    start()
    from benchmarks.people import make_people

    with scratch_database():
        user_ids = make_people(options.rows)
        embeddings = _embeddings(user_ids)
        kept = _compare_all("profile_embeddings", EMBEDDINGS, embeddings, "TRUNCATE profile_embeddings", options)
        _copy(EMBEDDINGS, embeddings)
        kept += _compare_all("users", USERS, _people(user_ids), "DELETE FROM users WHERE bio = 'new'", options)
    raise SystemExit(0 if all(kept) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _embeddings(user_ids: Sequence[UUID]) -> bytes:
    from benchmarks.people import clustered
    from vectorstore.ingest import binary_copy

    vectors = clustered(len(user_ids))
    rows = (binary_copy.line([user_id.bytes, binary_copy.reals(vector)]) for user_id, vector in zip(user_ids, vectors, strict=True))
    return binary_copy.BEGIN + b"".join(rows) + binary_copy.END


def _people(user_ids: Sequence[UUID]) -> bytes:
    """As many other people, without embeddings."""
    return "".join(
        f"{UUID(int=user_id.int ^ 1)}\tnew{number}@example.com\tnot-a-hash\tNew Person {number}\t1990-01-{1 + number % 28:02}\tother\tnew\n"
        for number, user_id in enumerate(user_ids)
    ).encode()


def _compare_all(table: str, statement: str, copied: bytes, undo: str, options: argparse.Namespace) -> list[bool]:
    return [_compare(table, statement, copied, undo, options, triggers) for triggers in (CAPTURE, ERASED)]


def _compare(table: str, statement: str, copied: bytes, undo: str, options: argparse.Namespace, triggers: Triggers) -> bool:
    """Print the median of the ratios of each round, with against without the triggers, and return whether the promise is kept."""
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
        f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; at most {triggers.promises[table]})\n"
    )
    return statistics.median(ratios) <= triggers.promises[table]


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
