"""Scratch databases: an empty one, a migrated one, one that is on its way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib import admin
from django.contrib.admin import sites
from django.test import modify_settings
from pytest_django import DjangoDbBlocker

from findme.schema.migrate import apply_migrations
from findme.schema.version import schema_version
from tests.findme.schema.scratch import Database, database, django_uses
from tests.findme.schema.undoing import PERSON, VIDEO, up_to


@pytest.fixture(scope="session")
def template(django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """A migrated database that nobody is connected to: others are copied from it."""
    with database() as made:
        # Unblocked no longer than this, or every later test of the session might reach the database that DATABASE_URL names.
        with django_db_blocker.unblock(), django_uses(made):
            apply_migrations()
        yield made


@pytest.fixture
def empty(django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """An empty database, to which Django is connected."""
    with django_db_blocker.unblock(), database() as made, django_uses(made):
        yield made


@pytest.fixture
def migrated(template: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """A migrated database, to which Django is connected."""
    with django_db_blocker.unblock(), database(template.name) as made, django_uses(made):
        yield made


@pytest.fixture
def before_videos(empty: Database) -> Database:
    """A database whose next migration is ``videos.0001_initial``, which needs a lock on ``users``."""
    apply_migrations(steps=schema_version().unapplied.index("videos.0001_initial"))
    return empty


@pytest.fixture
def notebook(migrated: Database) -> Iterator[Database]:
    """A migrated database and the tests' own app, whose table is there, and whose index is to be built concurrently."""
    with _same_admin(), modify_settings(INSTALLED_APPS={"append": "tests.findme.schema.notebook"}):
        apply_migrations(steps=1)
        yield migrated


@pytest.fixture
def with_videos(migrated: Database) -> Database:
    """The last migration applied is ``accounts.0002_user_video``, the one before it ``videos.0001_initial``; one person, who has a video."""
    up_to(migrated, "accounts.0002_user_video")
    migrated.execute(PERSON)
    migrated.execute(VIDEO)
    migrated.execute("UPDATE users SET video_id = (SELECT id FROM videos)")
    return migrated


@contextmanager
def _same_admin() -> Iterator[None]:
    """Apps that are made ready once more give the admin a new site, where nothing is registered."""
    site = admin.site
    try:
        yield
    finally:
        admin.site = sites.site = site
