"""A pytest plugin that stops the run unless Python, its subprocesses and PostgreSQL show the day that was asked for."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
import time_machine
from django.conf import settings

from findme.embedded.server import ensure_running
from tests.dates.clocks import VARIABLE

LONGEST_RUN = timedelta(hours=3)
PRINT_TIME = "import datetime, os; print(datetime.datetime.now(datetime.UTC).isoformat(), os.environ.get('TZ'))"


def pytest_sessionstart() -> None:
    """Compare the clocks in each process that runs tests, including xdist's workers."""
    give_grpc_the_real_clock()
    clock = json.loads(os.environ[VARIABLE])
    start = datetime.fromisoformat(clock["start"])
    children = [_of_child(dict(os.environ)), _of_child({"PATH": os.defpath})]
    shown = {
        "Python": datetime.fromtimestamp(time.time(), UTC),
        "a subprocess": children[0][0],
        "a subprocess with its own environment": children[1][0],
        "PostgreSQL": _of_postgresql(),
    }
    wrong = [f"{name} shows {at:%Y-%m-%d %H:%M}" for name, at in shown.items() if not start <= at < start + LONGEST_RUN]
    wrong += [f"a subprocess has TZ={zone} instead of {clock['zone']}" for _, zone in children if zone != clock["zone"]]
    if wrong:
        pytest.exit(f"The clocks do not show {start:%Y-%m-%d %H:%M} UTC: {'; '.join(wrong)}.", returncode=2)


def give_grpc_the_real_clock() -> None:
    """Let gRPC's Python code use the clock of the machine.

    gRPC's core keeps that clock, and Python passes deadlines to it as times. With a clock ahead, a timeout of a second would last until that day.
    """
    for name in ("grpc._channel", "grpc._common", "grpc._cython.cygrpc"):
        module = importlib.import_module(name)
        assert hasattr(module, "time")
        module.time = SimpleNamespace(**{**vars(time), "time": time_machine.escape_hatch.time.time})  # type: ignore[attr-defined]


def pytest_report_header() -> str:
    return f"clock: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, TZ={json.loads(os.environ[VARIABLE])['zone']}"


def _of_child(environment: dict[str, str]) -> tuple[datetime, str]:
    printed = subprocess.run([sys.executable, "-c", PRINT_TIME], check=True, capture_output=True, text=True, env=environment).stdout
    at, zone = printed.split()
    return datetime.fromisoformat(at), zone


def _of_postgresql() -> datetime:
    """Raise AssertionError if timeouts do not end a statement, as with an unchanged libfaketime (see ``libfaketime.py``)."""
    url = ensure_running(Path(settings.EMBEDDED_POSTGRES_DIR), durable=settings.EMBEDDED_POSTGRES_DURABLE).url
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("SET statement_timeout = '100ms'")
        try:
            session.execute("SELECT pg_sleep(10)")
        except psycopg.errors.QueryCanceled:
            found = session.execute("SELECT clock_timestamp()").fetchone()
            assert found is not None
            at: datetime = found[0]
            return at
        raise AssertionError("statement_timeout did not end a statement")
