"""The deadlines of a worker: the alarm for PostgreSQL does not shorten the time of other requests."""

from __future__ import annotations

import os
import signal
import time

import pytest
from django.db import OperationalError, connection

from tests.vectorstore.sync.people import plain_sql
from vectorstore.queue.shutdown import GRACE_SECONDS, GracefulShutdown, no_statement_deadline, statement_deadline

SLEEP = "SELECT pg_sleep(0.6)"


def left() -> float:
    """Seconds until the alarm."""
    return signal.getitimer(signal.ITIMER_REAL)[0]


@pytest.mark.django_db
def test_graceful_shutdown__a_statement_that_takes_too_long() -> None:
    with GracefulShutdown(0.2).caught(), pytest.raises(OperationalError, match=r"^it has not answered for 0\.2 s$"):
        plain_sql(SLEEP)
    connection.close()
    assert left() == 0


@pytest.mark.django_db
def test_graceful_shutdown__one_that_may_take_long() -> None:
    with GracefulShutdown(0.2).caught():
        with statement_deadline(), no_statement_deadline():
            plain_sql(SLEEP)
            assert left() == 0
        with no_statement_deadline():
            plain_sql(SLEEP)
        assert left() == 0
        with statement_deadline():
            assert 0 < left() <= 0.2


@pytest.mark.django_db
def test_graceful_shutdown__without_signal_handlers_no_alarm_is_set() -> None:
    with statement_deadline(), no_statement_deadline(), statement_deadline():
        plain_sql("SELECT 1")
        assert left() == 0


@pytest.mark.django_db
def test_graceful_shutdown__stopped_by_a_signal_in_a_statement_leaves_the_batch_its_grace() -> None:
    shutdown = GracefulShutdown(60)
    with shutdown.caught(signal.SIGUSR1), statement_deadline():
        assert left() > GRACE_SECONDS
        os.kill(os.getpid(), signal.SIGUSR1)
        while not shutdown.requested:
            time.sleep(0.01)
        plain_sql("SELECT 1")
        assert 0 < left() <= GRACE_SECONDS
    assert left() == 0


@pytest.mark.django_db
@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_graceful_shutdown__stopped_by_a_signal_while_the_alarm_is_set(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Just before it is set to something else: the grace stays."""
    shutdown, setitimer = GracefulShutdown(30), signal.setitimer

    def late(timer: int, after: float) -> object:
        if after == seconds and not shutdown.requested:
            os.kill(os.getpid(), signal.SIGUSR1)
            while not shutdown.requested:
                time.sleep(0.01)
        return setitimer(timer, after)

    with shutdown.caught(signal.SIGUSR1), monkeypatch.context() as patched:
        patched.setattr(signal, "setitimer", late)
        with statement_deadline():
            pass
        assert 0 < left() <= GRACE_SECONDS
    assert left() == 0
