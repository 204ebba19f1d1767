"""Advisory locks: one session at a time, and what happens to the lock when a session ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import UserFacingError

KEYS = (0, 1, 2**32, -1, 2**63 - 1, -(2**63))

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ours() -> Iterator[BaseDatabaseWrapper]:
    with closing(connection.copy()) as session:
        yield session


@pytest.fixture
def theirs() -> Iterator[BaseDatabaseWrapper]:
    with closing(connection.copy()) as session:
        with session.cursor() as cursor:
            cursor.execute("SET application_name = 'theirs'")
        yield session


def busy() -> UserFacingError:
    return UserFacingError("Another session holds it.")


def pid(session: BaseDatabaseWrapper) -> int:
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def terminate(session: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 60000)", [pid(session)])
        assert cursor.fetchone() == (True,)


@pytest.mark.parametrize("key", KEYS)
def test_try_acquire__one_session_at_a_time(key: int, ours: BaseDatabaseWrapper, theirs: BaseDatabaseWrapper) -> None:
    mine, other = AdvisoryLock(ours, key), AdvisoryLock(theirs, key)
    assert (other.try_acquire(), mine.try_acquire()) == (True, False)
    assert (other.is_held(), mine.is_held()) == (True, False)
    assert mine.holder() == (pid(theirs), "theirs")
    other.release()
    assert (other.is_held(), mine.holder(), mine.try_acquire()) == (False, None, True)


def test_try_acquire__another_key_is_another_lock(ours: BaseDatabaseWrapper, theirs: BaseDatabaseWrapper) -> None:
    assert AdvisoryLock(ours, 1).try_acquire()
    assert AdvisoryLock(theirs, 2).try_acquire()
    assert not AdvisoryLock(theirs, 1).is_held()


def test_held__for_the_block_also_after_an_error(ours: BaseDatabaseWrapper, theirs: BaseDatabaseWrapper) -> None:
    other = AdvisoryLock(theirs, 1)
    with pytest.raises(ZeroDivisionError, match="False"), AdvisoryLock(ours, 1).held(0, busy):
        raise ZeroDivisionError(other.try_acquire())
    assert other.try_acquire()


@pytest.mark.parametrize("seconds", [0, 0.2])
def test_held__not_free__calls_on_wait_once_and_raises_the_error(
    seconds: float, ours: BaseDatabaseWrapper, theirs: BaseDatabaseWrapper
) -> None:
    waits: list[bool] = []
    with (
        AdvisoryLock(theirs, 1).held(0, busy),
        pytest.raises(UserFacingError, match=r"^Another session holds it\.$"),
        AdvisoryLock(ours, 1).held(seconds, busy, lambda: waits.append(True)),
    ):
        raise AssertionError("it is not free")
    assert waits == [True]


def test_held__free__does_not_call_on_wait(ours: BaseDatabaseWrapper) -> None:
    with AdvisoryLock(ours, 1).held(0, busy, lambda: pytest.fail("It waits.")):
        pass


def test_held__waits_until_the_other_session_releases_it(ours: BaseDatabaseWrapper, theirs: BaseDatabaseWrapper) -> None:
    other = AdvisoryLock(theirs, 1)
    assert other.try_acquire()
    theirs.inc_thread_sharing()
    timer = threading.Timer(0.25, other.release)
    with AdvisoryLock(ours, 1).held(60, busy, timer.start):
        timer.join()
        assert not other.try_acquire()


def test_held__session_is_lost__the_lock_is_free_and_the_block_ends_without_an_error(
    ours: BaseDatabaseWrapper, theirs: BaseDatabaseWrapper
) -> None:
    mine = AdvisoryLock(ours, 1)
    with mine.held(0, busy):
        terminate(ours)
        assert AdvisoryLock(theirs, 1).try_acquire()
        with pytest.raises(OperationalError):
            mine.is_held()


def test_held__an_error_of_the_release_is_not_hidden() -> None:
    """The session is not lost here: the outer transaction failed, so the lock stays."""
    with pytest.raises(transaction.TransactionManagementError), transaction.atomic(), AdvisoryLock(connection, 1).held(0, busy):
        transaction.set_rollback(True)
    connection.close()
