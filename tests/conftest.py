"""Fixtures of all tests, and the end of the PostgreSQL that the run started."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from pytest_django import DjangoDbBlocker

pytest_plugins = [
    "tests.at_length",
    "tests.chromium",
    "tests.coverage_files",
    "tests.emptying",
    "tests.findme.migrator.databases",
    "tests.order",
    "tests.own_servers",
    "tests.qdrant",
    "tests.unchecked",
]

USE_THE_DATABASE = {"db", "transactional_db", "live_server"}


@pytest.fixture(autouse=True)
def silent_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in this process report no progress, also on a slow machine."""
    monkeypatch.setattr("findme.core.commands.progress.SILENT_SECONDS", float("inf"))


@pytest.fixture(autouse=True)
def empty_queue(request: pytest.FixtureRequest) -> None:
    """Start every test with an empty queue and without erased users. Emptying the tables after a test queues a row."""
    if request.node.get_closest_marker("django_db") or USE_THE_DATABASE.intersection(request.fixturenames):
        request.getfixturevalue("db")
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM vector_sync_queue; DELETE FROM erased_users; DELETE FROM pending_actions")


@pytest.fixture(autouse=True)
def empty_ledger() -> None:
    """Start every test with an empty ledger outside the database, and with its keys. A test without a commit has left its entries there.

    A process of a test finds them by settings, and creates nothing: the default folder of its database is another one.
    """
    shutil.rmtree(settings.ERASURE_LEDGER_URL, ignore_errors=True)
    Path(settings.ERASURE_LEDGER_URL).mkdir(mode=0o700, parents=True)
    from privacy.ledger.keys import subject_keys  # imported late, because it needs the apps
    from privacy.ledger.signing import signing_key

    if not (Path(settings.ERASURE_LEDGER_KEYS).exists() and Path(settings.PRIVACY_SIGNING_KEY).exists()):
        subject_keys()
        signing_key()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Switch autovacuum off on the run's own server: it can deadlock with a test that changes a table's rights and truncates the table.

    At the end, wait until no other session uses the test database, because PostgreSQL does not drop a database in use.
    """
    if not os.environ.get("DATABASE_URL"):
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET autovacuum = off")
            cursor.execute("SELECT pg_reload_conf()")
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for _ in range(100):
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
            if cursor.fetchone() == (0,):
                break
            time.sleep(0.1)


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes of the tests, also if a shell started the run in the background and ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Exclude what is imported and collected from garbage collection, because it stays until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the PostgreSQL of the run, in the process that began the run and not in a worker of xdist."""
    if hasattr(config, "workerinput") or not settings.configured or os.environ.get("DATABASE_URL"):
        return
    from findme.embedded.server import remove

    remove(Path(settings.EMBEDDED_POSTGRES_DIR))
