"""What the tests of the switch find in both stores, and errors at its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from backups.restoring import switch as switching
from backups.restoring.journal import Journal
from backups.restoring.switch import switch
from tests.backups.restoring.stores import NEW, OLD, Qdrant, Service, connection_of
from tests.support.database import Database

BEFORE, AFTER = Service("old", OLD), Service("restored", NEW)
SERVER = Database("postgres")


def service(live: Database, qdrant: Qdrant) -> Service:
    return Service(text(live), qdrant.alias())


def text(live: Database) -> str | None:
    """Return what the database serves, None if there is none. It accepts connections if it exists."""
    if not names(live.name):
        return None
    [found] = live.query("SELECT text FROM served")
    return str(found)


def names(*wanted: str) -> list[str]:
    return SERVER.query("SELECT datname FROM pg_database WHERE datname = ANY(%s)", list(wanted))


def old_names(live: Database) -> list[str]:
    return SERVER.query("SELECT datname FROM pg_database WHERE datname LIKE %s ORDER BY 1", f"{live.name}_before_%")


def comment(name: str) -> str | None:
    [found] = SERVER.query("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", name)
    return found if found is None else str(found)


def assert_as_before(live: Database, scratch: Database, qdrant: Qdrant, journal: Journal) -> None:
    assert service(live, qdrant) == BEFORE
    assert (names(scratch.name), old_names(live), qdrant.collections()) == ([], [], [OLD])
    assert not journal.path.exists()


@contextmanager
def failing(step: str, error: BaseException | None = None, *, after: bool = False) -> Iterator[None]:
    """Let the first call of a step of the switch fail, before it or ``after`` it was done."""
    original: Callable[..., Any] = getattr(switching, step)
    with pytest.MonkeyPatch.context() as patched:

        def fail(*arguments: Any, **options: Any) -> Any:
            patched.undo()
            if after:
                original(*arguments, **options)
            raise error or RuntimeError(step)

        patched.setattr(switching, step, fail)
        yield


def killed_after(step: str, journal: Journal, live: Database, qdrant: Qdrant) -> None:
    """Leave what a process leaves that is killed after ``step``."""
    with failing(step, after=True), pytest.MonkeyPatch.context() as patched:
        patched.setattr(switching, "_undo_after", lambda *_: None)
        with pytest.raises(RuntimeError):
            switch(journal, connection_of(live), qdrant)
