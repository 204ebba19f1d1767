"""The conversion of the guide's database by ``baseline``, and the longest wait of the services that write meanwhile.

Two copies of one database: in the first, the statements of the steps run one after the other, without writers, locks and retries of ours. The second
is converted while ``--writers`` threads write all four tables with the guide's statements, without a pause. The program prints the time of each step
in both, the ratio of their sums, and the longest time of a statement or COMMIT of a writer.

LIMIT: no writer waits longer than MIGRATE_TABLE_LOCK_SECONDS.

    python -m benchmarks.baseline [--users 200000] [--matches 2000000] [--writers 4]
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from django.conf import settings
from django.db import connection

from benchmarks.guide_writers import Report, Writers
from benchmarks.program import run
from benchmarks.scratch import empty_database, start

if TYPE_CHECKING:
    from findme.migrator.baseline.catalog import Table

USERS = """
    INSERT INTO users (email, password_hash, full_name, date_of_birth, gender, bio, verified)
    SELECT 'user' || n || '@example.com', '', 'User ' || n, date '1970-01-01' + n % 12000, (ARRAY['male', 'female', 'other'])[1 + n % 3],
           'I like the sea, the sun and number ' || n, true
    FROM generate_series(1, {users}) n
"""
VIDEOS = """
    INSERT INTO videos (id, user_id, storage_url, duration, file_size) SELECT id, id, 's3://' || id, 30, 1000 FROM users;
    UPDATE users SET video_id = id
"""
MATCHES = """
    WITH numbered AS (SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM users)
    INSERT INTO matches (user_id, matched_user_id, week_number, year, match_score, expires_at)
    SELECT a.id, b.id, 1 + k % 52, 2020 + k / 52, 0.5, NOW()
    FROM generate_series(0, {each} - 1) k CROSS JOIN numbered a JOIN numbered b ON b.number = (a.number + 1 + k) % {users}
"""
CALLS = """
    INSERT INTO video_calls (match_id, caller_id, callee_id, session_id)
    SELECT id, user_id, matched_user_id, id FROM matches WHERE week_number = 1
"""


def main() -> None:
    options = _options()
    start()
    from findme.migrator.baseline.scratch import GUIDE_TABLES, migrated_tables

    with empty_database() as template:
        _fill(options.users, options.matches)
        target = migrated_tables(connection, GUIDE_TABLES)
        with empty_database(template):
            bare = _run_bare(target)
        with empty_database(template):
            converted, total, report = _convert(target, options.writers)
    _print(options, bare, converted, total, report)
    raise SystemExit(0 if report.longest <= settings.MIGRATE_TABLE_LOCK_SECONDS and not report.errors else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--matches", type=int, default=2_000_000, help="a multiple of --users, and fewer than half of its square")
    parser.add_argument("--writers", type=int, default=4)
    return parser.parse_args()


def _fill(users: int, matches: int) -> None:
    from findme.migrator.baseline.scratch import guide_sql

    with connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'")
        for number in range(1, 5):
            cursor.execute(guide_sql(number))
        for statement in (USERS, VIDEOS, MATCHES, CALLS):
            cursor.execute(statement.format(users=users, each=matches // users))
        cursor.execute("VACUUM ANALYZE")
    connection.close()


def _run_bare(target: dict[str, Table]) -> dict[str, float]:
    """Return the seconds of each step. Its statements run in one transaction if it locks tables."""
    from findme.migrator.baseline.convert import planned_steps

    steps = [step for step in planned_steps(connection, "public", target) if step.statements]
    seconds = {}
    with _connect() as session:
        for step in steps:
            begun = time.perf_counter()
            for statement in ("BEGIN", *step.statements, "COMMIT") if step.locks else step.statements:
                session.execute(statement.encode())
            seconds[step.description] = time.perf_counter() - begun
    return seconds


def _convert(target: dict[str, Table], writers: int) -> tuple[dict[str, float], float, Report]:
    """Return the seconds of each step, the seconds of all steps and migrations, and what the writers saw."""
    from findme.migrator.baseline.convert import convert
    from findme.migrator.migrate import running
    from findme.migrator.timeouts import MigrationTimeouts

    begun: list[tuple[str, float]] = []
    with (
        running("baseline", using="default", timeouts=MigrationTimeouts.configured(), on_warning=lambda line: _line(line)) as locked,
        Writers(_connect, writers) as services,
    ):
        time.sleep(1)
        convert(locked, connection, "public", target, on_step=lambda description: begun.append((description, time.perf_counter())))
        begun.append(("end", time.perf_counter()))
    seconds = {one[0]: after[1] - one[1] for one, after in itertools.pairwise(begun)}
    return seconds, begun[-1][1] - begun[0][1], services.report


def _connect() -> psycopg.Connection[Any]:
    return psycopg.connect(**_parameters(), autocommit=True)


def _parameters() -> dict[str, Any]:
    parameters = connection.get_connection_params()
    return {name: parameters[name] for name in ("dbname", "host", "port", "user", "password") if parameters.get(name)}


def _print(options: argparse.Namespace, bare: dict[str, float], converted: dict[str, float], total: float, report: Report) -> None:
    for line in _lines(options, bare, converted, total, report):
        _line(line)


def _lines(options: argparse.Namespace, bare: dict[str, float], converted: dict[str, float], total: float, report: Report) -> Iterator[str]:
    yield from (f"{converted[name]:8.2f} s {seconds:8.2f} s bare  {name}" for name, seconds in bare.items() if name in converted)
    steps, alone = sum(converted[name] for name in bare if name in converted), sum(bare.values())
    yield f"{total - steps:8.2f} s                  migrations and checks"
    yield (
        f"baseline: {options.users:,} users, {options.matches:,} matches, {options.writers} writers: {total:.1f} s,"
        f" {steps:.1f} s for the steps, {alone:.1f} s bare, ratio {steps / alone:.2f}"
    )
    yield (
        f"writers: {report.statements:,} statements, {len(report.errors)} errors, longest wait {report.longest:.2f} s"
        f" (at most {settings.MIGRATE_TABLE_LOCK_SECONDS:g}): {report.slowest}"
    )
    yield from _errors(report.errors)


def _errors(errors: Sequence[psycopg.Error]) -> Iterator[str]:
    yield from (f"error: {error.diag.message_primary}" for error in errors[:5])


def _line(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    run(main)
