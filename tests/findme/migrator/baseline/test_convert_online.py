"""Services write the tables during the conversion: none of them fails or waits for long, and no broken rule gets in."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from django.db import connection
from psycopg import errors

from benchmarks.guide_writers import Writers
from findme.core.errors import UserFacingError
from findme.migrator import long_waits
from findme.migrator.baseline.catalog import Table, read_tables
from findme.migrator.baseline.convert import planned_steps
from findme.migrator.baseline.scratch import GUIDE_TABLES
from tests.findme.migrator.baseline.guide_database import TIMEOUTS, Reached, convert_tables, convert_tables_only, create_guide_tables, rows
from tests.findme.migrator.baseline.test_convert import assert_equal_catalogs
from tests.support.database import Database
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

MARGIN_SECONDS = 30.0
"""What a busy machine adds to the longest wait of a writer."""


@pytest.mark.long
@pytest.mark.parametrize("version", [4, pytest.param(2, marks=pytest.mark.at_length)])
def test_convert__services_write_all_along__no_statement_fails_or_waits_longer_than_the_timeout(
    empty: Database, template: Database, target: dict[str, Table], version: int
) -> None:
    create_guide_tables(empty, version)
    before = rows(empty, version)
    warnings: list[str] = []
    with Writers(empty.connect, tables=version, pause=0.01) as writers:
        wait_until(lambda: writers.report.transactions > 20)
        convert_tables(target, on_warning=warnings.append)
        done = writers.report.transactions
        wait_until(lambda: writers.report.transactions > done + 20)
    assert [str(error) for error in writers.report.errors] == []
    assert writers.report.longest < TIMEOUTS.table_lock_seconds + MARGIN_SECONDS, writers.report.slowest
    assert_equal_catalogs(empty, template)
    after = rows(empty, version)
    assert all(set(before[table]) <= set(after[table]) for table in before)
    assert len(after["users"]) > len(before["users"])


@contextmanager
def transaction_in(database: Database, statement: str) -> Iterator[psycopg.Connection]:
    """Keep a transaction open that has run ``statement``."""
    with database.connect() as session:
        session.execute("BEGIN")
        session.execute(statement.encode())
        yield session
        session.execute("ROLLBACK")


def test_convert__lock_is_not_to_be_had__names_the_transaction_and_changes_no_table(guide: Database, target: dict[str, Table]) -> None:
    before = read_tables(connection, "public", GUIDE_TABLES)
    short = replace(TIMEOUTS, table_lock_seconds=0.05, attempts=2)
    warnings: list[str] = []
    with transaction_in(guide, "UPDATE users SET bio = 'x'"), pytest.raises(UserFacingError) as refused:
        convert_tables(target, timeouts=short, on_warning=warnings.append)
    assert re.fullmatch(
        r"users: 6 columns, \d+ defaults, \d+ checks for new rows: canceling statement due to lock timeout, 2 times"
        r" \(the oldest open transaction: process \d+, '.*', for \d+ s\); the earlier steps stay."
        r" Run manage.py baseline again later, or wait longer with --table-lock-seconds or --attempts\.",
        str(refused.value),
    )
    assert len(warnings) == 1
    assert warnings[0].startswith("users: ")
    assert "; attempt 2 of 2 in " in warnings[0]
    assert read_tables(connection, "public", GUIDE_TABLES) == before


def test_convert__writer_holds_one_table_and_waits_for_the_other__does_not_fail(guide: Database, target: dict[str, Table]) -> None:
    """The foreign key of users.video_id locks two tables. A writer that waits for a while checks for a deadlock, and would fail."""
    began, holds = threading.Event(), threading.Event()

    def on_step(description: str) -> None:
        if description == "users: foreign key users_video_id_fkey for new rows":
            began.set()
            wait_until(holds.is_set)

    def convert_in_thread() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET deadlock_timeout = '100s'")
        convert_tables_only(target, on_step, timeouts=replace(TIMEOUTS, table_lock_seconds=100))

    with guide.connect() as writer, in_thread(convert_in_thread):
        assert began.wait(60)
        writer.execute("BEGIN; UPDATE videos SET duration = 31")
        holds.set()
        wait_until(guide.waits_for_a_lock)
        writer.execute("UPDATE users SET bio = 'new'")
        writer.execute("COMMIT")


# --- Old transactions ---------------------------------------------------------------------------------------------------------------------


def test_convert__build_waits_for_an_old_transaction__names_it(
    guide: Database, target: dict[str, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_waits, "LONG_SECONDS", 0.2)
    step, warnings = "users: build the index idx_users_video_id", list[str]()
    with guide.connect() as reader:
        pid = reader.info.backend_pid

        def on_step(description: str) -> None:
            if description == step:
                reader.execute("SET application_name = 'report'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")

        def on_warning(text: str) -> None:
            warnings.append(text)
            reader.execute("ROLLBACK")

        with pytest.raises(Reached):
            convert_tables(target, on_step=stop_after(step, on_step), on_warning=on_warning)
    [warning] = warnings
    assert re.fullmatch(
        rf"{step}: waits for \d+ s now for process {pid} \('report'\), whose transaction began \d+ s ago\."
        rf" It continues when that transaction ends. To end it: SELECT pg_terminate_backend\({pid}\);",
        warning,
    )
    assert guide.has("idx_users_video_id")


def stop_after(step: str, on_step: Callable[[str], object]) -> Callable[[str], None]:
    done: list[str] = []

    def stop(description: str) -> None:
        if step in done:
            raise Reached
        done.append(description)
        on_step(description)

    return stop


# --- Rows that break a rule ------------------------------------------------------------------------------------------------------------


MIRRORED = """
    INSERT INTO matches (user_id, matched_user_id, week_number, year, match_score, expires_at)
    SELECT matched_user_id, user_id, week_number, year, 0.5, NOW() FROM matches LIMIT 1
"""


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("UPDATE videos SET user_id = NULL WHERE storage_url LIKE '%1'", "videos.user_id"),
        ("UPDATE users SET email = 'USER2@example.com' WHERE full_name = 'User 1'", "idx_users_email_lower"),
        (MIRRORED, "matches_pair_week_number_year_key"),
        ("UPDATE users SET video_id = gen_random_uuid() WHERE full_name = 'User 2'", "users_video_id_fkey"),
    ],
)
def test_convert__rows_break_a_rule__names_it_and_leaves_no_invalid_index(
    guide: Database, target: dict[str, Table], statement: str, rule: str
) -> None:
    guide.execute(statement)
    with pytest.raises(UserFacingError) as refused:
        convert_tables(target)
    assert str(refused.value).startswith(f"{rule}: rows of ")
    assert guide.query("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid") == []
    assert not guide.has("schema_version")


def test_convert__new_rows_that_break_a_rule__are_refused_from_the_first_step_on(guide: Database, target: dict[str, Table]) -> None:
    refused: list[str] = []

    def on_step(description: str) -> None:
        if re.fullmatch("users: validate .* checks", description):
            for statement in (
                "UPDATE users SET active = NULL",
                "UPDATE matches SET week_number = 60",
                "UPDATE video_calls SET duration = -1",
                "UPDATE videos SET metadata = NULL",
            ):
                with pytest.raises(errors.CheckViolation) as error:
                    guide.execute(statement)
                refused.append(str(error.value.diag.constraint_name))

    convert_tables_only(target, on_step)
    assert refused == [
        "baseline_users_active_not_null",
        "matches_week_number_check",
        "video_calls_duration_check",
        "baseline_videos_metadata_not_null",
    ]


# --- Index builds that fail ------------------------------------------------------------------------------------------------------------


WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s AND wait_event_type = 'Lock'"
CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s"


def test_convert__build_of_an_index_is_cancelled__drops_the_invalid_index(guide: Database, target: dict[str, Table]) -> None:
    """As with a full disk, the statement fails after PostgreSQL has committed the INVALID index."""
    with guide.connect() as blocker:
        holds = threading.Event()

        def on_step(description: str) -> None:
            if description == "users: build the index idx_users_video_id":
                blocker.execute("BEGIN; UPDATE users SET bio = 'x' WHERE full_name = 'User 1'")
                holds.set()

        def cancel() -> None:
            assert holds.wait(60)
            wait_until(lambda: guide.query(WAITING, "CREATE INDEX CONC%"))
            guide.query(CANCEL, "CREATE INDEX CONC%")
            wait_until(lambda: guide.query(WAITING, "DROP INDEX CONC%"))
            blocker.execute("ROLLBACK")

        with (
            in_thread(cancel),
            pytest.raises(UserFacingError, match=r"^users: build the index idx_users_video_id: canceling statement due to user"),
        ):
            convert_tables(target, on_step=on_step)
    assert guide.query("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid") == []
    assert not guide.has("idx_users_video_id")


def test_convert__invalid_index_of_a_killed_run__is_built_again(guide: Database, target: dict[str, Table]) -> None:
    index = target["users"].indexes["idx_users_video_id"]
    guide.execute(f"CREATE INDEX {index.name} ON users {index.definition}")
    guide.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{index.name}'::regclass")
    planned = [step.description for step in planned_steps(connection, "public", target)]
    assert planned.index(f"users: drop the INVALID index {index.name}") + 1 == planned.index(f"users: build the index {index.name}")
    convert_tables_only(target)
    assert read_tables(connection, "public", GUIDE_TABLES)["users"].indexes[index.name] == index
