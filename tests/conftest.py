"""What every test run shares: the embedded servers' fixtures, and the end of the PostgreSQL that the run started."""

from __future__ import annotations

import gc
import os
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
    "tests.qdrant",
    "tests.unchecked",
]

USE_THE_DATABASE = {"db", "transactional_db", "live_server"}


@pytest.fixture(autouse=True)
def silent_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command that runs in this process reports its progress, however slow the machine is."""
    monkeypatch.setattr("findme.core.commands.progress.SILENT_SECONDS", float("inf"))


@pytest.fixture(autouse=True)
def nobody_queued(request: pytest.FixtureRequest) -> None:
    """Every test begins with an empty queue, and without erased users: after a test with ``transaction=True`` everything is truncated, and that queues
    a row itself."""
    if request.node.get_closest_marker("django_db") or USE_THE_DATABASE.intersection(request.fixturenames):
        request.getfixturevalue("db")
        from privacy.models import ErasedUser
        from vectorstore.models import QueueEntry

        QueueEntry.objects.all().delete()
        ErasedUser.objects.all().delete()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database. A process that the last test ended may still have a session for a moment, and PostgreSQL would not drop the database."""
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for _ in range(100):
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
            if cursor.fetchone() == (0,):
                break
            time.sleep(0.1)


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays until the end: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the run's own PostgreSQL: once, by the process that began the run, and not by a worker of xdist that is the first to be done."""
    if hasattr(config, "workerinput") or not settings.configured or os.environ.get("DATABASE_URL"):
        return
    from findme.embedded.server import remove

    remove(Path(settings.EMBEDDED_POSTGRES_DIR))
