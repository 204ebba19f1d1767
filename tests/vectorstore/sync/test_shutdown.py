"""Deadlines of a worker: the alarm for PostgreSQL does not shorten the time of other requests."""

from __future__ import annotations

import os
import signal
import time

import pytest
from django.db import OperationalError, connection

from tests.schema.rows import ask
from vectorstore.queue.shutdown import GRACE_SECONDS, GracefulShutdown, no_statement_deadline, statement_deadline

SLEEP = "SELECT pg_sleep(0.6)"


def seconds_until_alarm() -> float:
    return signal.getitimer(signal.ITIMER_REAL)[0]


@pytest.mark.django_db
def test_graceful_shutdown__statement_exceeds_its_deadline__fails() -> None:
    with GracefulShutdown(0.2).caught(), pytest.raises(OperationalError, match=r"^it has not answered for 0\.2 s$"):
        ask(SLEEP)
    connection.close()
    assert seconds_until_alarm() == 0


@pytest.mark.django_db
def test_graceful_shutdown__statement_without_deadline__may_take_long() -> None:
    with GracefulShutdown(0.2).caught():
        with statement_deadline(), no_statement_deadline():
            ask(SLEEP)
            assert seconds_until_alarm() == 0
        with no_statement_deadline():
            ask(SLEEP)
        assert seconds_until_alarm() == 0
        with statement_deadline():
            assert 0 < seconds_until_alarm() <= 0.2


@pytest.mark.django_db
def test_graceful_shutdown__without_signal_handlers__sets_no_alarm() -> None:
    with statement_deadline(), no_statement_deadline(), statement_deadline():
        ask("SELECT 1")
        assert seconds_until_alarm() == 0


@pytest.mark.django_db
def test_graceful_shutdown__signal_during_a_statement__batch_keeps_its_grace_period() -> None:
    shutdown = GracefulShutdown(60)
    with shutdown.caught(signal.SIGUSR1), statement_deadline():
        assert seconds_until_alarm() > GRACE_SECONDS
        os.kill(os.getpid(), signal.SIGUSR1)
        while not shutdown.requested:
            time.sleep(0.01)
        ask("SELECT 1")
        assert 0 < seconds_until_alarm() <= GRACE_SECONDS
    assert seconds_until_alarm() == 0


@pytest.mark.django_db
@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_graceful_shutdown__signal_while_the_alarm_is_set__keeps_the_grace_period(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The signal arrives right before the alarm is set to another time. The grace period stays."""
    shutdown, setitimer = GracefulShutdown(30), signal.setitimer

    def request_shutdown_first(timer: int, after: float) -> object:
        if after == seconds and not shutdown.requested:
            os.kill(os.getpid(), signal.SIGUSR1)
            while not shutdown.requested:
                time.sleep(0.01)
        return setitimer(timer, after)

    with shutdown.caught(signal.SIGUSR1), monkeypatch.context() as patched:
        patched.setattr(signal, "setitimer", request_shutdown_first)
        with statement_deadline():
            pass
        assert 0 < seconds_until_alarm() <= GRACE_SECONDS
    assert seconds_until_alarm() == 0
