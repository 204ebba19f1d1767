"""What the next run does with a switch that was killed."""

from __future__ import annotations

import threading

import pytest

from backups.restoring import maintenance
from backups.restoring import switch as switching
from backups.restoring.journal import Journal
from backups.restoring.switch import NotFinished, recover, switch
from findme.core.errors import UserFacingError
from tests.backups.restoring.checks import (
    AFTER,
    SERVER,
    assert_as_before,
    failing,
    killed_after,
    names,
    old_names,
    service,
    text,
)
from tests.backups.restoring.stores import NEW, OLD, Qdrant, connection_of, raising, start_restore
from tests.support.database import Database
from tests.support.waiting import wait_until


def test_recover__no_restore_was_left(live: Database, journal: Journal, qdrant: Qdrant) -> None:
    assert recover(journal, connection_of(live), qdrant) is None


def test_recover__before_the_switch__is_undone(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    start_restore(journal, live, scratch.name)
    entry = journal.current()
    with journal.temporary_folder(journal.path.parent) as folder:
        assert recover(journal, connection_of(live), qdrant) == (
            f"The restore of 'a-backup' that began at {entry.begun_at:%Y-%m-%d %H:%M:%S} UTC was undone: {live.name!r} is as before."
        )
        assert not folder.exists()
    assert_as_before(live, scratch, qdrant, journal)


@pytest.mark.parametrize("step", ["_free_name", "_close"])
def test_recover__before_the_renames__is_undone(step: str, live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    start_restore(journal, live, scratch.name)
    killed_after(step, journal, live, qdrant)
    assert "was undone" in str(recover(journal, connection_of(live), qdrant))
    assert_as_before(live, scratch, qdrant, journal)


@pytest.mark.parametrize("step", ["_rename", "_move_alias"])
def test_recover__after_the_renames__is_finished(step: str, live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    start_restore(journal, live, scratch.name)
    killed_after(step, journal, live, qdrant)
    [old] = old_names(live)
    assert str(recover(journal, connection_of(live), qdrant)).endswith(
        f"UTC was finished: {live.name!r} is the restored database, and the one before it is {old!r}."
    )
    assert service(live, qdrant) == AFTER
    assert (qdrant.is_complete(), journal.path.exists(), qdrant.collections()) == (True, False, [OLD, NEW])


@pytest.mark.parametrize("step", ["_rename_back", "_go_back"])
def test_recover__killed_while_going_back(step: str, live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    """The alias has moved already. Before the names are back the restore is finished, afterwards undone."""
    start_restore(journal, live, scratch.name)
    with failing("_move_alias", after=True), pytest.MonkeyPatch.context() as patched:
        patched.setattr(switching, step, raising("killed"))
        with pytest.raises(NotFinished):
            switch(journal, connection_of(live), qdrant)
    recover(journal, connection_of(live), qdrant)
    if step == "_rename_back":
        assert service(live, qdrant) == AFTER
    else:
        assert_as_before(live, scratch, qdrant, journal)


def test_recover__the_last_statement_of_a_killed_restore_still_runs__is_waited_for(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant
) -> None:
    """Until it has ended, the catalog does not say what it has done."""
    start_restore(journal, live, scratch.name)
    with SERVER.connect() as left:
        left.execute("SELECT pg_advisory_lock(%s)", [maintenance.LOCK_KEY])

        def release_when_asked() -> None:
            wait_until(waits)
            left.close()

        thread = threading.Thread(target=release_when_asked)
        thread.start()
        try:
            recover(journal, connection_of(live), qdrant)
        finally:
            thread.join()
    assert_as_before(live, scratch, qdrant, journal)


def waits() -> bool:
    """Return whether a session has asked for the lock of restores and not got it."""
    return bool(
        SERVER.query(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%' AND pid <> pg_backend_pid() AND datname = 'postgres'"
        )
    )


def test_recover__a_restore_of_another_machine_runs__is_refused(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "LOCK_SECONDS", 0.0)
    start_restore(journal, live, scratch.name)
    with SERVER.connect() as other:
        other.execute("SELECT pg_advisory_lock(%s)", [maintenance.LOCK_KEY])
        with pytest.raises(UserFacingError, match="Another restore runs on this server"):
            recover(journal, connection_of(live), qdrant)
    assert names(scratch.name) == [scratch.name]


def test_recover__on_another_server__is_refused(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    start_restore(journal, live, scratch.name)
    journal.note(system_identifier="1")
    with pytest.raises(UserFacingError, match="on another server: nothing was changed"):
        recover(journal, connection_of(live), qdrant)
    assert names(scratch.name) == [scratch.name]


def test_recover__databases_renamed_by_hand__is_refused(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    start_restore(journal, live, scratch.name)
    journal.note(phase="switching")
    SERVER.execute(f"ALTER DATABASE {live.name} RENAME TO {live.name}_before_me")
    with pytest.raises(UserFacingError, match="were renamed or dropped by hand: nothing was changed"):
        recover(journal, connection_of(live), qdrant)
    assert names(scratch.name) == [scratch.name]
    SERVER.execute(f"ALTER DATABASE {live.name}_before_me RENAME TO {live.name}")


def test_recover__qdrant_is_unavailable__the_restored_database_serves(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant
) -> None:
    start_restore(journal, live, scratch.name)
    killed_after("_rename", journal, live, qdrant)
    qdrant.fails = True
    with pytest.raises(RuntimeError, match="Qdrant is unavailable"):
        recover(journal, connection_of(live), qdrant)
    assert text(live) == "restored"
    qdrant.fails = False
    assert "was finished" in str(recover(journal, connection_of(live), qdrant))
    assert service(live, qdrant) == AFTER
