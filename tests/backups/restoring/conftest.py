from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import DjangoDbBlocker

from backups.restoring.journal import Journal, open_journal
from tests.backups.restoring import stores
from tests.backups.restoring.two_databases import restored_database
from tests.support.database import Database


@pytest.fixture(scope="package")
def restored(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[Database, BaseDatabaseWrapper]]:
    """A restored database, and a connection to it. Each test begins by emptying it."""
    with django_db_blocker.unblock(), restored_database() as made:
        yield made


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "restore.json"


@pytest.fixture
def journal(journal_path: Path) -> Iterator[Journal]:
    with open_journal(journal_path) as journal:
        yield journal


@pytest.fixture
def qdrant(tmp_path: Path) -> stores.Qdrant:
    (tmp_path / "qdrant").mkdir()
    made = stores.Qdrant(tmp_path / "qdrant")
    made.fill()
    return made


@pytest.fixture
def live(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """A small database that serves."""
    with django_db_blocker.unblock(), stores.served() as made:
        yield made


@pytest.fixture
def scratch(live: Database) -> Iterator[Database]:
    """The database that takes the place of ``live``."""
    with stores.restored(live, stores.scratch_name(secrets.randbits(63))) as made:
        yield made
