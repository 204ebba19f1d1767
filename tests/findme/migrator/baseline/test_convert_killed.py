"""A conversion that is killed at any moment: the next run continues, and ends in the same catalog with all rows."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from benchmarks.guide_writers import Writers
from findme.core.errors import UserFacingError
from findme.migrator.baseline.catalog import Table
from findme.migrator.baseline.convert import WORKING_KEY, Converted, planned_steps
from findme.migrator.baseline.state import read_baseline
from findme.migrator.management.commands import baseline
from tests.findme.migrator.baseline import guide_database
from tests.findme.migrator.baseline.guide_database import convert_tables, create_guide_tables, rows, target_tables
from tests.findme.migrator.baseline.test_convert import assert_equal_catalogs
from tests.support.database import Database
from tests.support.processes import ended
from tests.support.seeds import storm_seeds
from tests.support.waiting import wait_until

STEPS, STATEMENTS = 230, 2000
"""About the number of statements that a conversion sends: until the first migration, and in all."""
LONGEST_DELAY = 0.03
"""Seconds between sending the statement and the kill: before, during or after it."""


def die_in_a_child(run: Callable[[], object], nth: int, delay: float) -> None:
    """Call ``run`` in a child process that is killed ``delay`` seconds after ``convert`` has sent its ``nth`` statement, if it sends so many."""
    connection.close()
    child = os.fork()
    if child == 0:
        try:
            for module in (guide_database, baseline):
                module.convert = partial(dying, module.convert, nth, delay)  # type: ignore[attr-defined]
            run()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def dying(convert: Callable[..., Converted], nth: int, delay: float, *arguments: Any, **options: Any) -> Converted:
    with connection.execute_wrapper(partial(kill_after, iter(range(nth, -1, -1)), delay)):
        return convert(*arguments, **options)


def kill_after(remaining: Any, delay: float, execute: Callable[..., Any], *arguments: Any) -> Any:
    if next(remaining, None) == 0:
        threading.Thread(target=kill_this_process, args=(delay,), daemon=True).start()
    return execute(*arguments)


def kill_this_process(delay: float) -> None:
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_and_repeat(run: Callable[[], object], moments: random.Random, kills: int) -> None:
    for _ in range(kills):
        nth = moments.randrange(moments.choice([STEPS, STATEMENTS]))
        die_in_a_child(run, nth, moments.choice([0, moments.uniform(0, LONGEST_DELAY)]))
    run()


def run_command() -> None:
    """Run the command, which also recognizes what the killed run has left."""
    call_command("baseline", no_input=True, stdout=io.StringIO(), stderr=io.StringIO())


def check(guide: Database, template: Database, before: dict[str, list[str]]) -> None:
    assert_equal_catalogs(guide, template)
    after = rows(guide)
    assert {table: set(found) - set(after[table]) for table, found in before.items()} == {table: set() for table in before}
    found = read_baseline(connection)
    assert found is not None
    assert len(set(found.migrations)) == len(found.migrations)


@pytest.mark.long
def test_convert__killed_three_times__ends_in_the_same_catalog(guide: Database, template: Database, target: dict[str, Table]) -> None:
    before = rows(guide)
    kill_and_repeat(partial(convert_tables, target), random.Random(12), kills=3)
    check(guide, template, before)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.at_length)])
def test_baseline__interrupted_while_it_builds__names_the_invalid_index(number: int, guide: Database) -> None:
    with guide.connect() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        process = guide.start("baseline", "--no-input", "--json")
        wait_until(lambda: guide.query(BUILDING))
        process.send_signal(number)
        code, out, err = ended(process)
    assert code == 130
    index = guide.query("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")[0]
    assert err.splitlines()[-2:] == [
        f"The index {index} is left INVALID. The next run of manage.py baseline drops it and builds it again.",
        "baseline: interrupted. The steps that are done stay: run it again, and it continues where it stopped.",
    ]
    found = json.loads(out)
    assert found["reason"] == "Interrupted. The steps that are done stay: run it again, and it continues where it stopped."
    assert found["steps"][-1].startswith("video_calls: validate ")
    assert f"users: drop the INVALID index {index}" in [step.description for step in planned_steps(connection, "public", target_tables())]


BUILDING = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONC%%' AND wait_event = 'virtualxid'"
)


def test_convert__session_of_a_killed_run_is_active__waits_for_it(
    guide: Database, target: dict[str, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may still end a step that this run has not seen."""
    monkeypatch.setattr("findme.migrator.baseline.convert.WORKING_SECONDS", 0.1)
    with guide.connect() as earlier:
        earlier.execute("SELECT pg_advisory_lock(%s)", [WORKING_KEY])
        with pytest.raises(
            UserFacingError, match=r"^The session of an earlier run is still active \(process \d+\): nothing was changed\. Run manage"
        ):
            convert_tables(target)
    assert planned_steps(connection, "public", target)[0].description.startswith("users: 6 columns")


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_convert__some_tables__killed__creates_the_others_and_their_foreign_keys(
    empty: Database, template: Database, target: dict[str, Table], seed: int
) -> None:
    """The foreign key of users.video_id can be added only after a migration has created the videos."""
    create_guide_tables(empty, 1)
    kill_and_repeat(partial(convert_tables, target), random.Random(seed), kills=3)
    assert_equal_catalogs(empty, template)


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.parametrize("seed", storm_seeds(2))
def test_baseline__killed_while_services_write__ends_in_the_same_catalog(guide: Database, template: Database, seed: int) -> None:
    before = rows(guide)
    with Writers(guide.connect, pause=0.01) as writers:
        kill_and_repeat(run_command, random.Random(seed), kills=1)
    assert [str(error) for error in writers.report.errors] == []
    check(guide, template, before)
