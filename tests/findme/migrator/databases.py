"""Scratch databases for all tests: an empty one, and migrated ones that are copied from a template."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from findme.migrator.migrate import apply_migrations
from tests.findme.migrator.undoing import PERSON, VIDEO
from tests.support.database import Database, database, use_database


@pytest.fixture(scope="session")
def template(django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """A migrated database without a connection to it, from which others are copied."""
    with database() as made:
        # Unblock only here, or every later test of the session could reach the database of DATABASE_URL.
        with django_db_blocker.unblock(), use_database(made):
            apply_migrations()
        yield made


@pytest.fixture(scope="session")
def template_with_videos(django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """The template of ``with_videos``, without a connection to it."""
    with database() as made:
        with django_db_blocker.unblock(), use_database(made):
            call_command("migrate", "admin", verbosity=0)
            call_command("migrate", "accounts", "0002_user_video", verbosity=0)
            made.execute(PERSON)
            made.execute(VIDEO)
            made.execute("UPDATE users SET video_id = (SELECT id FROM videos)")
        yield made


@pytest.fixture
def empty(django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """An empty database that Django uses."""
    with django_db_blocker.unblock(), database() as made, use_database(made):
        yield made


@pytest.fixture
def migrated(template: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """A migrated database that Django uses."""
    with django_db_blocker.unblock(), database(template.name) as made, use_database(made):
        yield made


@pytest.fixture
def with_videos(template_with_videos: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """A database with one user and a video. The last applied migrations are ``videos.0001_initial`` and ``accounts.0002_user_video``."""
    with django_db_blocker.unblock(), database(template_with_videos.name) as made, use_database(made):
        yield made
