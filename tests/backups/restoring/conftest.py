from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import DjangoDbBlocker

from tests.backups.restoring.two_databases import restored_database
from tests.support.database import Database


@pytest.fixture(scope="package")
def restored(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[Database, BaseDatabaseWrapper]]:
    """A restored database, and a connection to it. Each test begins by emptying it."""
    with django_db_blocker.unblock(), restored_database() as made:
        yield made
