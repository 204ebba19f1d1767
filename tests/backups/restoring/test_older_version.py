"""The switch on the oldest supported PostgreSQL, with the settings of a server that replicates logically and prepares transactions."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from pytest_django import DjangoDbBlocker

from backups.restoring import switch as switching
from backups.restoring.journal import Journal
from backups.restoring.old_databases import drop_old
from backups.restoring.rights import require_rights
from backups.restoring.switch import recover, switch
from findme.core.errors import UserFacingError
from findme.embedded.account import account_for
from tests.backups.restoring.stores import NEW, OLD, Qdrant, Service, connection_of, restored, scratch_name, served, start_restore
from tests.support.database import Database
from tests.support.postgresql_versions import DEBIAN, installed_versions, server_of_version
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = [pytest.mark.at_length, pytest.mark.long]
SERVER = Database("postgres")


@pytest.fixture(scope="module")
def server(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    if not (versions := installed_versions()):
        pytest.skip("no PostgreSQL in /usr/lib/postgresql")
    with django_db_blocker.unblock(), server_of_version(versions[0], wal_level="logical", max_prepared_transactions=2):
        yield


@pytest.fixture
def live(server: None) -> Iterator[Database]:
    with served() as made:
        yield made


def refusal(live: Database) -> str:
    with closing(connection_of(live)) as session, pytest.raises(UserFacingError) as raised:
        require_rights(session, live.name)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_switch(live: Database, journal: Journal, qdrant: Qdrant) -> None:
    with restored(live, scratch_name(secrets.randbits(63))) as scratch, closing(connection_of(live)) as session:
        session.ensure_connection()
        require_rights(session, live.name)
        start_restore(journal, live, scratch.name)
        old = switch(journal, session, qdrant)
        assert Service(live.query("SELECT text FROM served")[0], qdrant.alias()) == ("restored", NEW)
        assert [found.name for found in drop_old(session, dry_run=False)] == [old]


@pytest.mark.parametrize("step", ["_close", "_rename", "_move_alias"])
def test_switch__an_error__goes_back(step: str, live: Database, journal: Journal, qdrant: Qdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    with restored(live, scratch_name(secrets.randbits(63))) as scratch:
        start_restore(journal, live, scratch.name)
        original = getattr(switching, step)

        def fail_once(*arguments: Any, **options: Any) -> None:
            monkeypatch.setattr(switching, step, original)
            raise RuntimeError("a step")

        monkeypatch.setattr(switching, step, fail_once)
        with pytest.raises(RuntimeError, match="a step"):
            switch(journal, connection_of(live), qdrant)
        assert Service(live.query("SELECT text FROM served")[0], qdrant.alias()) == ("old", OLD)
        assert recover(journal, connection_of(live), qdrant) is None


@pytest.mark.parametrize(
    ("step", "expected"), [("_close", ("old", OLD)), ("_rename", ("restored", NEW)), ("_move_alias", ("restored", NEW))]
)
def test_switch__the_server_crashes(
    step: str, expected: tuple[str, str], live: Database, journal: Journal, qdrant: Qdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the renames the switch goes back, and after them it does not need the session that was lost."""
    original = getattr(switching, step)

    def crash(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(switching, step, original)
        original(*arguments, **options)
        restart_at_once()

    with restored(live, scratch_name(secrets.randbits(63))) as scratch:
        start_restore(journal, live, scratch.name)
        monkeypatch.setattr(switching, step, crash)
        with suppress(OperationalError):
            switch(journal, connection_of(live), qdrant)
        assert Service(live.query("SELECT text FROM served")[0], qdrant.alias()) == expected
        assert not journal.path.exists()


def restart_at_once() -> None:
    [data], [version] = SERVER.query("SHOW data_directory"), SERVER.query("SELECT current_setting('server_version_num')::int / 10000")
    command = [DEBIAN / str(version) / "bin" / "pg_ctl", "-D", data, "restart", "--wait", "--mode=immediate", "--log", f"{data}/log"]
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_SECONDS, **account_for(Path(data)).popen_arguments())


def test_require_rights__a_prepared_transaction(live: Database) -> None:
    live.execute("BEGIN; CREATE TABLE another (id int); PREPARE TRANSACTION 'it''s one'")
    line = refusal(live)
    assert line == (
        f'The database {live.name!r} has a prepared transaction "it\'s one": nothing was restored.'
        " Run in it: ROLLBACK PREPARED 'it''s one'; (or COMMIT PREPARED)"
    )
    live.execute(line.partition(" in it: ")[2].partition(" (")[0])
    require_rights(connection_of(live), live.name)


def test_require_rights__a_logical_replication_slot(live: Database) -> None:
    live.query("SELECT pg_create_logical_replication_slot('one', 'pgoutput')")
    line = refusal(live)
    assert line == (
        f"The database {live.name!r} has a logical replication slot 'one': nothing was restored. Run: SELECT pg_drop_replication_slot('one');"
    )
    SERVER.execute(line.partition(" Run: ")[2])
    require_rights(connection_of(live), live.name)
