"""Partly migrated databases, and those of the migration guide."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from findme.migrator.migrate import apply_migrations
from findme.migrator.version import schema_version
from tests.findme.migrator.baseline.empty_guide import create_guide
from tests.support.database import Database, database, use_database
from tests.support.installed_apps import installed_app


@pytest.fixture
def before_videos(empty: Database) -> Database:
    """A database whose next migration is ``videos.0001_initial``, which needs a lock on ``users``."""
    apply_migrations(steps=schema_version().unapplied.index("videos.0001_initial"))
    return empty


@pytest.fixture
def notebook(migrated: Database) -> Iterator[Database]:
    """A migrated database with the table of the tests' app ``notebook``. Its index, built concurrently, is still missing."""
    with installed_app("tests.findme.migrator.notebook"):
        apply_migrations(steps=1)
        yield migrated


@pytest.fixture(scope="session")
def empty_guide_template() -> Iterator[Database]:
    """All four tables of the guide without rows."""
    with database() as made:
        create_guide(made)
        yield made


@pytest.fixture
def empty_guide(empty_guide_template: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """A copy of the guide's database without rows, which Django uses."""
    with django_db_blocker.unblock(), database(empty_guide_template.name) as made, use_database(made):
        yield made
