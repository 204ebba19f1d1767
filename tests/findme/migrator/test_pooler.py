"""A pooler that shares sessions between clients is refused before a setting of a session is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from findme.core.errors import UserFacingError
from findme.migrator.lock import require_own_session
from tests.findme.migrator.baseline.empty_guide import create_guide
from tests.support.database import Database, database
from tests.support.pgbouncer import PORT, PROGRAM, pgbouncer
from tests.support.postgresql_versions import installed_versions, server_of_version

REFUSED = (
    "A pooler gives each transaction another session: nothing was done."
    " Connect DATABASE_URL directly to PostgreSQL, or set pool_mode = session."
)


def test_require_own_session__directly_connected__is_allowed(empty: Database) -> None:
    require_own_session(connection)


@pytest.mark.parametrize(
    "pids", [[(1, 1)] * 5, [(1, 2), (1, 2), (2, 1), (1, 2), (1, 2)], [(1, 2), (1, 3)]], ids=["one", "exchanged", "other"]
)
def test_require_own_session__shared_sessions__are_refused(
    pids: list[tuple[int, int]], empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([pid for pair in pids for pid in pair])
    monkeypatch.setattr("findme.migrator.lock.SAME_SESSION_TRIES", len(pids))
    monkeypatch.setattr("findme.migrator.lock._backend_pid", lambda _: next(answers))
    with pytest.raises(UserFacingError) as refused:
        require_own_session(connection)
    assert str(refused.value) == REFUSED


needs_pooler = pytest.mark.skipif(not (PROGRAM and installed_versions()), reason="no PgBouncer, or no PostgreSQL in /usr/lib/postgresql")


@contextmanager
def guide_behind_pooler(pool_mode: str, pool_size: int) -> Iterator[tuple[Database, dict[str, str]]]:
    """A database of the guide, and the variables of a command that reaches it through PgBouncer."""
    with server_of_version(installed_versions()[-1]), database() as made, pgbouncer(pool_mode, pool_size=pool_size) as folder:
        create_guide(made)
        yield made, {"DATABASE_URL": f"postgresql://findme@/{made.name}?host={folder}&port={PORT}"}


@pytest.mark.at_length
@needs_pooler
@pytest.mark.parametrize("pool_size", [1, 3])
def test_commands__pooler_for_transactions__are_refused(pool_size: int, django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock(), guide_behind_pooler("transaction", pool_size) as (made, variables):
        for command in (["baseline", "--plan"], ["baseline", "--no-input"], ["migrate", "--skip-checks"]):
            assert made.manage(*command, **variables) == (2, "", f"{REFUSED}\n")
        assert not made.has("django_migrations")


@pytest.mark.at_length
@needs_pooler
def test_plan__pooler_for_sessions__is_allowed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock(), guide_behind_pooler("session", 5) as (made, variables):
        assert made.manage("baseline", "--plan", **variables)[::2] == (0, "")
