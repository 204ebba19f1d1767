"""The databases that restores have replaced: only they are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest

from backups.restoring.journal import Journal
from backups.restoring.old_databases import _replaced_at, drop_old, old_databases, oldest_replaced
from backups.restoring.switch import replaced_comment, switch
from findme.core.errors import UserFacingError
from tests.backups.restoring.stores import Qdrant, connection_of, start_restore
from tests.support.database import Database, role

SERVER = Database("postgres")


def exists(name: str) -> bool:
    return SERVER.query("SELECT count(*) FROM pg_database WHERE datname = %s", name) == [1]


@pytest.fixture
def old(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> str:
    """The name of the database that a restore has replaced."""
    start_restore(journal, live, scratch.name)
    name = switch(journal, connection_of(live), qdrant)
    assert name is not None
    return name


@contextmanager
def made(name: str, comment: str | None) -> Iterator[None]:
    SERVER.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    if comment is not None:
        SERVER.execute(f"COMMENT ON DATABASE {name} IS '{comment}'")
    try:
        yield
    finally:
        SERVER.execute(f"DROP DATABASE IF EXISTS {name}")


def test_drop_old__drops_what_a_restore_has_replaced(live: Database, old: str) -> None:
    before = datetime.now(UTC)
    [listed] = old_databases(connection_of(live))
    assert listed.name == old
    assert abs((before - listed.replaced_at).total_seconds()) < 3600
    assert listed.size is not None
    assert listed.size > 1_000_000
    assert drop_old(connection_of(live), dry_run=True) == [listed]
    assert exists(old)
    assert drop_old(connection_of(live), dry_run=False) == [listed]
    assert not exists(old)
    assert drop_old(connection_of(live), dry_run=False) == []
    assert live.query("SELECT text FROM served") == ["restored"]


def test_drop_old__a_similar_name_or_comment_alone__stays(live: Database) -> None:
    at = datetime(2026, 12, 1, tzinfo=UTC)
    of_another = replaced_comment(f"{live.name}_2", at)
    with (
        made(f"{live.name}_before_20261201_000000", None),
        made(f"{live.name}_before_20261201_000001", "mine"),
        made(f"{live.name}_before_20261201_000002", of_another),
        made(f"{live.name}_kept", replaced_comment(live.name, at)),
        made(f"{live.name}_before_20261201_000003", replaced_comment(live.name, at)[:-1]),
    ):
        assert drop_old(connection_of(live), dry_run=False) == []
        assert len(SERVER.query("SELECT datname FROM pg_database WHERE datname LIKE %s", f"{live.name}%")) == 6


def test_drop_old__made_live_again_by_hand__stays(live: Database, old: str) -> None:
    SERVER.execute(f"ALTER DATABASE {live.name} RENAME TO {live.name}_failed")
    SERVER.execute(f"ALTER DATABASE {old} RENAME TO {live.name}")
    try:
        assert drop_old(connection_of(live), dry_run=False) == []
    finally:
        SERVER.execute(f"DROP DATABASE {live.name}_failed")


def test_drop_old__the_oldest_first(live: Database) -> None:
    names = [f"{live.name}_before_b", f"{live.name}_before_a"]
    with (
        made(names[0], replaced_comment(live.name, datetime(2026, 12, 1, tzinfo=UTC))),
        made(names[1], replaced_comment(live.name, datetime(2026, 12, 2, tzinfo=UTC))),
    ):
        assert [found.name for found in drop_old(connection_of(live), dry_run=True)] == names


def test_drop_old__of_another_role__is_not_listed(live: Database, old: str) -> None:
    with role() as (name, _), closing(connection_of(live)) as session:
        session.settings_dict["OPTIONS"] = {**session.settings_dict["OPTIONS"], "options": f"-c role={name}"}
        assert old_databases(session) == []
    assert exists(old)


def test_oldest_replaced__counts_those_of_other_roles(live: Database) -> None:
    with (
        role() as (name, _),
        closing(connection_of(live)) as session,
        made(f"{live.name}_before_b", replaced_comment(live.name, datetime(2026, 12, 2, tzinfo=UTC))),
        made(f"{live.name}_before_a", replaced_comment(live.name, datetime(2026, 12, 1, tzinfo=UTC))),
    ):
        session.settings_dict["OPTIONS"] = {**session.settings_dict["OPTIONS"], "options": f"-c role={name}"}
        assert oldest_replaced(session) == datetime(2026, 12, 1, tzinfo=UTC)
        drop_old(connection_of(live), dry_run=False)
        assert oldest_replaced(session) is None


@pytest.mark.at_length
def test_drop_old__in_use__is_refused(live: Database, old: str) -> None:
    SERVER.execute(f"ALTER DATABASE {old} ALLOW_CONNECTIONS true")
    with Database(old).connect(), pytest.raises(UserFacingError) as raised:
        drop_old(connection_of(live), dry_run=False)
    assert str(raised.value) == (
        f'The old database {old!r} is in use: database "{old}" is being accessed by other users. End its sessions, then run the command again.'
    )
    assert exists(old)


@pytest.mark.parametrize("name", ["findme", 'a "quoted" \\ name', "äöü"])
def test_replaced_comment__has_every_name(name: str) -> None:
    at = datetime(2026, 12, 1, 4, 5, 6, tzinfo=UTC)
    assert _replaced_at(replaced_comment(name, at), name) == at
    assert _replaced_at(replaced_comment(name, at), f"{name}2") is None
