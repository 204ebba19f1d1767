"""The cost of a check of PostgreSQL, which runs every five seconds in every process."""

from __future__ import annotations

import cProfile
import pstats
from dataclasses import replace

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.test.utils import CaptureQueriesContext

from findme.web.health import probes
from findme.web.health.report import Status

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def kept_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the probe use the test's connection; otherwise it has a separate thread and connection."""
    monkeypatch.setattr(connection, "close", lambda: None)
    monkeypatch.setattr(probes, "_files", None)


def calls_of_a_probe() -> int:
    """Return the number of function calls, which is the same on every machine."""
    with cProfile.Profile() as profile:
        assert probes.probe_postgresql().postgresql is Status.OK
    return int(vars(pstats.Stats(profile))["total_calls"])


def test_probe__reads_the_files_of_the_migrations_once(monkeypatch: pytest.MonkeyPatch) -> None:
    load_disk, reads = MigrationLoader.load_disk, list[int]()

    def counted(loader: MigrationLoader) -> None:
        reads.append(1)
        load_disk(loader)

    monkeypatch.setattr(MigrationLoader, "load_disk", counted)
    probes.probe_postgresql()  # and the SQL of the triggers
    first = calls_of_a_probe()
    monkeypatch.setattr(probes, "_files", None)
    again = calls_of_a_probe()
    assert len(reads) == 2
    assert first < again / 3, (first, again)


def test_probe__asks_the_database_each_time() -> None:
    probes.probe_postgresql()
    with CaptureQueriesContext(connection) as asked:
        assert probes.probe_postgresql().migrations is Status.OK
    assert len(asked) == 9
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'axes' AND name LIKE '0010%'")
    found = probes.probe_postgresql()
    assert (found.migrations, found.unapplied_migrations) == (Status.BEHIND, 1)


def test_probe__migrations_that_replace_others_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The applied migrations decide which of the two counts."""
    files = probes._migration_files()
    monkeypatch.setattr(probes, "_files", replace(files, are_replaced=True, plans=(("axes.9999_new",),)))
    assert probes.probe_postgresql().migrations is Status.OK
