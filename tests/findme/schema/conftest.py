"""Scratch databases: an empty one, a migrated one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from findme.schema.migrate import apply_migrations
from tests.findme.schema.scratch import Database, database, django_uses


@pytest.fixture(scope="session")
def template(django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """A migrated database that nobody is connected to: others are copied from it."""
    with django_db_blocker.unblock(), database() as made:
        with django_uses(made):
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
