"""A switch that fails: both stores are as before, and what serves accepts connections."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from backups.restoring import maintenance
from backups.restoring import switch as switching
from backups.restoring.journal import Journal
from backups.restoring.switch import NotFinished, recover, switch
from findme.core.errors import UserFacingError
from tests.backups.restoring.checks import (
    AFTER,
    BEFORE,
    SERVER,
    assert_as_before,
    comment,
    failing,
    names,
    service,
    text,
)
from tests.backups.restoring.stores import OLD, Qdrant, connection_of, raising, start_restore
from tests.support.database import Database

STEPS = ["_require_unchanged", "_free_name", "_close", "_rename", "_move_alias"]
"""The steps of the switch that an error undoes, in their order."""


def test_switch__to_an_empty_server__an_error_goes_back(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    SERVER.execute(f"DROP DATABASE {live.name}")
    start_restore(journal, live, scratch.name)
    with failing("_move_alias"), pytest.raises(RuntimeError):
        switch(journal, connection_of(live), qdrant)
    assert (names(live.name, scratch.name), qdrant.collections(), journal.entry) == ([], [OLD], None)
    SERVER.execute(f"CREATE DATABASE {live.name}")


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_switch__an_error_at_any_step__goes_back(
    step: str, after: bool, live: Database, scratch: Database, journal: Journal, qdrant: Qdrant, tmp_path: Path
) -> None:
    SERVER.execute(f"COMMENT ON DATABASE {live.name} IS 'of the operator'")
    start_restore(journal, live, scratch.name)
    with journal.temporary_folder(tmp_path) as folder:
        with failing(step, after=after), pytest.raises(RuntimeError, match=step):
            switch(journal, connection_of(live), qdrant)
        assert not folder.exists()
    assert_as_before(live, scratch, qdrant, journal)
    assert comment(live.name) == "of the operator"


@pytest.mark.at_length(every=3)
@pytest.mark.parametrize("step", ["_close", "_rename", "_move_alias"])
def test_switch__ctrl_c__goes_back(step: str, live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    start_restore(journal, live, scratch.name)
    with failing(step, KeyboardInterrupt(), after=True), pytest.raises(KeyboardInterrupt):
        switch(journal, connection_of(live), qdrant)
    assert_as_before(live, scratch, qdrant, journal)


def test_switch__ctrl_c_while_going_back__goes_back_to_the_end(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    start_restore(journal, live, scratch.name)
    original = switching._rename_back

    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        original(*arguments)
        signal.raise_signal(signal.SIGTERM)

    with failing("_move_alias", after=True), pytest.MonkeyPatch.context() as patched:
        patched.setattr(switching, "_rename_back", interrupted)
        with pytest.raises(RuntimeError, match="_move_alias"):
            switch(journal, connection_of(live), qdrant)
    assert_as_before(live, scratch, qdrant, journal)


def test_switch__its_session_is_lost__goes_back(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    start_restore(journal, live, scratch.name)

    def lose(session: Any, _entry: Any) -> None:
        SERVER.query("SELECT pg_terminate_backend(%s, 60000)", session.connection.info.backend_pid)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(switching, "_close", after_it(switching._close, lose))
        with pytest.raises(OperationalError):
            switch(journal, connection_of(live), qdrant)
    assert_as_before(live, scratch, qdrant, journal)


def after_it(original: Callable[..., Any], then: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> None:
        original(*arguments)
        then(*arguments)

    return call


def test_switch__the_answer_of_the_commit_is_lost__goes_back(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    """The databases are renamed, and the process does not know it."""
    start_restore(journal, live, scratch.name)
    with failing("_rename", OperationalError("server closed the connection unexpectedly"), after=True), pytest.raises(OperationalError):
        switch(journal, connection_of(live), qdrant)
    assert_as_before(live, scratch, qdrant, journal)


def test_switch__qdrant_is_unavailable__the_old_database_serves_and_the_next_run_ends_it(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant
) -> None:
    start_restore(journal, live, scratch.name)
    qdrant.fails = True
    with pytest.raises(NotFinished) as raised:
        switch(journal, connection_of(live), qdrant)
    assert str(raised.value) == (
        "The switch failed: Qdrant is unavailable. Going back failed too: Qdrant is unavailable."
        " Run restore again: it finishes or undoes the switch."
    )
    assert service(live, qdrant) == BEFORE
    qdrant.fails = False
    assert "was undone" in str(recover(journal, connection_of(live), qdrant))
    assert_as_before(live, scratch, qdrant, journal)


def test_switch__the_rows_about_collections_cannot_be_written__the_restored_one_serves_and_the_next_run_ends_it(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_restore(journal, live, scratch.name)
    with monkeypatch.context() as patched:
        patched.setattr(Qdrant, "complete", raising("no room"))
        with pytest.raises(NotFinished) as raised:
            switch(journal, connection_of(live), qdrant)
    assert str(raised.value) == (
        "The restored database serves, but the restore has not ended: no room. Run restore again: it does what is left."
    )
    assert service(live, qdrant) == AFTER
    assert not qdrant.is_complete()
    assert "was finished" in str(recover(journal, connection_of(live), qdrant))
    assert (qdrant.is_complete(), journal.entry) == (True, None)


def test_switch__what_keeps_the_database_in_use_came_later__nothing_is_closed(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_restore(journal, live, scratch.name)
    monkeypatch.setattr(switching, "in_use", lambda _session, name: [f"{name} has a prepared transaction."])
    monkeypatch.setattr(switching, "_close", lambda *_: pytest.fail("closed"))
    with pytest.raises(UserFacingError, match="has a prepared transaction"):
        switch(journal, connection_of(live), qdrant)
    assert_as_before(live, scratch, qdrant, journal)


def test_switch__the_live_database_was_replaced__is_refused(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    start_restore(journal, live, scratch.name)
    SERVER.execute(f"DROP DATABASE {live.name}")
    SERVER.execute(f"CREATE DATABASE {live.name}")
    live.execute("CREATE TABLE served AS SELECT 'another' AS text")
    with pytest.raises(UserFacingError, match=f"The database '{live.name}' was changed since the restore began: nothing was switched"):
        switch(journal, connection_of(live), qdrant)
    assert (text(live), names(scratch.name)) == ("another", [])


def test_switch__a_session_that_does_not_end__goes_back(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "END_SECONDS", 0.0)
    monkeypatch.setattr(maintenance, "SESSIONS", "SELECT 4711, 'someone', 'a program' WHERE %s IS NOT NULL")
    start_restore(journal, live, scratch.name)
    with pytest.raises(UserFacingError) as raised:
        switch(journal, connection_of(live), qdrant)
    assert str(raised.value) == ("The session 4711 of 'someone' ('a program') did not end within 0 s. End it, then run the command again.")
    assert_as_before(live, scratch, qdrant, journal)


def test_switch__another_session_holds_the_database__goes_back(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COMMENT keeps the name of the database until its transaction ends."""
    monkeypatch.setattr(maintenance, "END_SECONDS", 0.0)
    monkeypatch.setattr(maintenance, "LOCK_TIMEOUT", "100ms")
    start_restore(journal, live, scratch.name)
    with SERVER.connect() as other, other.transaction():
        other.execute(f"COMMENT ON DATABASE {live.name} IS 'another'".encode())
        with pytest.raises(UserFacingError, match="is still in use: canceling statement due to lock timeout"):
            switch(journal, connection_of(live), qdrant)
        assert_as_before(live, scratch, qdrant, journal)
