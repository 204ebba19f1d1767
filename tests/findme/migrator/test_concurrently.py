"""An index that is built while its table is in use."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from findme.core.errors import UserFacingError
from findme.migrator import long_waits
from findme.migrator.migrate import apply_migrations
from findme.migrator.timeouts import MigrationTimeouts
from findme.migrator.undo.plan import plan_rollback
from findme.migrator.undo.rollback import roll_back
from tests.findme.migrator.test_lock import INVALID
from tests.support.database import Database
from tests.support.processes import ended
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

SETTINGS = "tests.findme.migrator.notebook_settings"
INDEXES = "SELECT indexrelid::regclass || ' ' || indisvalid FROM pg_index WHERE indrelid = 'notes'::regclass AND NOT indisprimary"
BUILDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%%' AND wait_event = 'virtualxid' AND clock_timestamp() - query_start > %s
"""
LEFT = "It left INVALID: idx_notes_text. Run in manage.py dbshell: DROP INDEX CONCURRENTLY idx_notes_text;"


@contextmanager
def old_snapshot(database: Database) -> Iterator[None]:
    """An open transaction that began before the build, which waits for it."""
    with database.connect() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        yield
        reader.execute("ROLLBACK")


def is_building(database: Database, since: str = "0 s") -> list[int]:
    return database.query(BUILDS, since)


def test_migrate__old_transaction__waits_longer_than_lock_timeout(notebook: Database) -> None:
    timeouts = MigrationTimeouts(wait_seconds=0, table_lock_seconds=0.05, attempts=1)
    with in_thread(lambda: apply_migrations(timeouts=timeouts)), old_snapshot(notebook):
        wait_until(lambda: is_building(notebook, since="0.5 s"))
    assert notebook.query(INDEXES) == ["idx_notes_text true"]


def test_migrate__waits_for_long__names_the_oldest_transaction(
    notebook: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(long_waits, "LONG_SECONDS", 0.2)
    with in_thread(apply_migrations), old_snapshot(notebook):
        wait_until(lambda: "notebook.0002_index: waits for " in caplog.text)
    assert "To end it: SELECT pg_terminate_backend(" in caplog.text


def test_migrate__build_is_canceled__names_the_invalid_index_and_the_next_run_repairs_it(notebook: Database) -> None:
    with old_snapshot(notebook):
        with in_thread(lambda: cancel(notebook)), pytest.raises(UserFacingError) as refused:
            apply_migrations()
        assert notebook.query(INVALID) == ["idx_notes_text"]
    assert str(refused.value) == (
        "notebook.0002_index was not applied: canceling statement due to user request."
        f" It does not run in one transaction. {LEFT} Fix this, then run migrate again."
    )
    assert apply_migrations().migrations == ("notebook.0002_index",)
    assert notebook.query(INDEXES) == ["idx_notes_text true"]


def cancel(database: Database) -> None:
    wait_until(lambda: is_building(database))
    (pid,) = is_building(database)
    database.query("SELECT pg_cancel_backend(%s)", pid)


@pytest.mark.at_length
def test_migrate__killed_while_it_builds__the_next_run_builds_it(notebook: Database) -> None:
    with old_snapshot(notebook):
        builder = notebook.start("migrate", settings=SETTINGS)
        wait_until(lambda: is_building(notebook))
        builder.kill()
        assert ended(builder)[0] == -signal.SIGKILL
        wait_until(lambda: not is_building(notebook))  # though the old transaction is still there
    assert notebook.query(INVALID) == ["idx_notes_text"]
    assert apply_migrations().migrations == ("notebook.0002_index",)
    assert notebook.query(INDEXES) == ["idx_notes_text true"]


@pytest.mark.at_length
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_migrate__interrupted_while_it_builds__names_the_invalid_index(number: int, notebook: Database) -> None:
    with old_snapshot(notebook):
        builder = notebook.start("migrate", settings=SETTINGS)
        wait_until(lambda: is_building(notebook))
        builder.send_signal(number)
        code, _, err = ended(builder)
    assert code == 130
    assert err.splitlines() == [
        f"notebook.0002_index was not applied. It does not run in one transaction. {LEFT}",
        "migrate: interrupted. Run it again: it continues where it stopped.",
    ]


def test_migrate__killed_before_it_recorded_the_index__the_next_run_keeps_the_index(notebook: Database) -> None:
    notebook.execute("CREATE INDEX idx_notes_text ON notes (text)")
    before = notebook.query("SELECT 'idx_notes_text'::regclass::oid")
    assert apply_migrations().migrations == ("notebook.0002_index",)
    assert notebook.query("SELECT 'idx_notes_text'::regclass::oid") == before


def test_migrate__name_is_taken__reports_no_invalid_index(notebook: Database) -> None:
    notebook.execute("CREATE TABLE idx_notes_text ()")
    with pytest.raises(UserFacingError) as refused:
        apply_migrations()
    assert str(refused.value) == (
        'notebook.0002_index was not applied: relation "idx_notes_text" already exists. It does not run in one transaction.'
        " It left no INVALID index. Fix this, then run migrate again."
    )


def test_rollback__of_the_index__drops_it(notebook: Database) -> None:
    apply_migrations()
    assert roll_back(plan_rollback(1)).migrations == ("notebook.0002_index",)
    assert notebook.query(INDEXES) == []
