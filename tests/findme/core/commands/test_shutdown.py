"""The shutdown of a worker that runs in a thread of its own."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from django.db import connection

from accounts.models import User
from findme.core.commands import shutdown
from findme.core.commands.shutdown import GracefulShutdown
from tests.support.commands import run_python
from tests.support.users import create_users

SIGNAL = signal.SIGUSR1

STUCK = """
import os, signal, threading, time
from django.db import DatabaseError, connection
from findme.core.commands import shutdown

shutdown.GRACE_SECONDS, shutdown.RELEASE_SECONDS = 0.3, {release_seconds}
gate, rejected = threading.Event(), threading.Event()

def work():
    connection.ensure_connection()
    os.kill(os.getpid(), signal.SIGTERM)
    gate.wait()
    try:
        connection.cursor()
    except DatabaseError as error:
        print(type(error).__name__, flush=True)
        rejected.set()
    time.sleep(60)

worker = shutdown.GracefulShutdown({{signal.SIGTERM: 7}})
with worker.signals_handled():
    worker.run(work)
    {then}
print("the end", flush=True)
"""


def test_run__without_signals__works_in_the_callers_thread() -> None:
    threads: list[threading.Thread] = []
    GracefulShutdown().run(lambda: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]


@pytest.mark.django_db
def test_run__with_signals__works_in_a_thread_with_the_callers_connection() -> None:
    create_users(2)
    found: list[object] = []
    worker = GracefulShutdown({SIGNAL: 0})
    with worker.signals_handled():
        worker.run(lambda: found.extend([threading.current_thread(), User.objects.count()]))
    assert found[0] is not threading.current_thread()
    assert found[1] == User.objects.count() == 2
    assert not connection.allow_thread_sharing


@pytest.mark.django_db
def test_run__raises_the_error_of_the_work() -> None:
    worker = GracefulShutdown({SIGNAL: 0})
    with worker.signals_handled(), pytest.raises(ZeroDivisionError):
        worker.run(lambda: print(1 / 0))  # noqa: T201


@pytest.mark.django_db
@pytest.mark.parametrize("early", [False, True], ids=["while it works", "before it works"])
def test_run__a_signal__ends_idle_work_at_once(early: bool) -> None:
    worker, before = GracefulShutdown({SIGNAL: 0}), signal.getsignal(SIGNAL)

    def work() -> None:
        if not early:
            os.kill(os.getpid(), SIGNAL)
        assert worker.requested.wait(30)
        os.kill(os.getpid(), SIGNAL)

    with worker.signals_handled():
        if early:
            os.kill(os.getpid(), SIGNAL)
        worker.run(work)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= shutdown.GRACE_SECONDS + shutdown.RELEASE_SECONDS
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(SIGNAL) == before


@pytest.mark.django_db
def test_run__a_signal_with_the_exit_code_of_ctrl_c__raises_keyboard_interrupt_after_the_work() -> None:
    worker, done = GracefulShutdown({SIGNAL: 130}), list[bool]()

    def work() -> None:
        os.kill(os.getpid(), SIGNAL)
        time.sleep(0.5)
        done.append(True)

    with worker.signals_handled(), pytest.raises(KeyboardInterrupt):
        worker.run(work)
    assert done


@pytest.mark.django_db(transaction=True)
def test_run__work_that_does_not_end__is_abandoned_without_a_connection() -> None:
    then = "gate.set(); rejected.wait(30); print(connection.cursor().execute('SELECT 1') is not None, flush=True)"
    assert run_python(STUCK.format(release_seconds=60, then=then)) == (7, "DatabaseError\nTrue\nthe end\n", "")


@pytest.mark.django_db(transaction=True)
def test_signals_handled__a_block_that_does_not_end__exits() -> None:
    assert run_python(STUCK.format(release_seconds=0.3, then="time.sleep(60)")) == (7, "", "")
