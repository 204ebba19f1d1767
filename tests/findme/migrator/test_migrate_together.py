"""Several processes that migrate one database."""

from __future__ import annotations

import re

import pytest
from django.core.management import call_command

from findme.migrator.lock import migration_lock
from findme.migrator.migrate import Applied, apply_migrations
from tests.findme.migrator.catalog import catalog
from tests.support.database import Database
from tests.support.processes import ended
from tests.support.threads import in_thread


@pytest.mark.at_length
@pytest.mark.long
def test_migrate__ten_processes_on_an_empty_database__apply_each_migration_once(empty: Database, template: Database) -> None:
    results = [ended(process) for process in [empty.start("migrate") for _ in range(10)]]
    assert [(code, err) for code, _, err in results if code] == []
    applied = [line for _, out, _ in results for line in out.splitlines() if line.startswith("  Applying")]
    assert len(applied) == len(set(applied)) == template.version()
    assert catalog(empty) == catalog(template)


@pytest.mark.at_length
def test_apply_migrations__two_threads_of_a_service__apply_each_migration_once(empty: Database, template: Database) -> None:
    done: list[Applied] = []
    with in_thread(lambda: done.append(apply_migrations())), in_thread(lambda: done.append(apply_migrations())):
        pass
    assert {applied.version for applied in done} == {template.version()}
    assert sorted(len(applied.migrations) for applied in done) == [0, template.version()]


def test_migrate__two_processes_with_create_index_concurrently__do_not_deadlock(migrated: Database) -> None:
    results = [
        ended(process) for process in [migrated.start("migrate", settings="tests.findme.migrator.notebook_settings") for _ in range(2)]
    ]
    assert [(code, err) for code, _, err in results if code] == []
    assert migrated.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx_notes_text'::regclass") == [True]


@pytest.mark.at_length
def test_migrate__another_one_is_running__ends_at_the_deadline_in_one_line(empty: Database) -> None:
    with migration_lock("backup"):
        code, out, err = empty.manage("migrate", "--wait-seconds", "0")
    assert (code, out) == (2, "")
    assert re.fullmatch(
        r"The migration lock was not free within 0 s: process \d+ \('findme backup \S+'\) holds it\."
        r" Run the command again later, or wait longer with --wait-seconds\.\n",
        err,
    )


def test_migrate__another_one_is_running__check_and_plan_do_not_wait(empty: Database) -> None:
    with migration_lock("backup"):
        call_command("migrate", plan=True, wait_seconds=0)
        with pytest.raises(SystemExit) as found:
            call_command("migrate", check_unapplied=True, wait_seconds=0)
    assert found.value.code == 1
