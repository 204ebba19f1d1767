"""Fixtures of a database that a restore replaces, with a backup and changes since."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from backups.restoring.old_databases import drop_old
from tests.backups.restore.world import World, make_world
from tests.support.database import Database


@pytest.fixture
def restore_journal(tmp_path: Path, settings: Settings) -> Path:
    settings.BACKUP_JOURNAL = str(tmp_path / "restore.json")
    return tmp_path / "restore.json"


@pytest.fixture
def served(migrated: Database, restore_journal: Path) -> Iterator[Database]:
    """A migrated database of the test's own. Those that it left aside are dropped."""
    yield migrated
    connection.close()
    with closing(connection.copy()) as copy:
        drop_old(copy, dry_run=False)


@pytest.fixture
def world(served: Database, embedded_qdrant: object, place: Path) -> World:
    return make_world(place)
