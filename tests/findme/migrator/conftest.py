"""Partly migrated databases."""

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
    """A migrated database with the table of the tests' app ``notebook``. Its index, built concurrently, is still missing."""
    with _same_admin(), modify_settings(INSTALLED_APPS={"append": "tests.findme.migrator.notebook"}):
        apply_migrations(steps=1)
        yield migrated


@contextmanager
def _same_admin() -> Iterator[None]:
    """Keep the site of the admin: loading the apps again creates a new site without registered models."""
    site = admin.site
    try:
        yield
    finally:
        admin.site = sites.site = site
