"""Databases that are on their way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib import admin
from django.contrib.admin import sites
from django.test import modify_settings

from findme.migrator.migrate import apply_migrations
from findme.migrator.version import schema_version
from tests.support.database import Database


@pytest.fixture
def before_videos(empty: Database) -> Database:
    """A database whose next migration is ``videos.0001_initial``, which needs a lock on ``users``."""
    apply_migrations(steps=schema_version().unapplied.index("videos.0001_initial"))
    return empty


@pytest.fixture
def notebook(migrated: Database) -> Iterator[Database]:
    """A migrated database and the tests' own app, whose table is there, and whose index is to be built concurrently."""
    with _same_admin(), modify_settings(INSTALLED_APPS={"append": "tests.findme.migrator.notebook"}):
        apply_migrations(steps=1)
        yield migrated


@contextmanager
def _same_admin() -> Iterator[None]:
    """Apps that are made ready once more give the admin a new site, where nothing is registered."""
    site = admin.site
    try:
        yield
    finally:
        admin.site = sites.site = site
