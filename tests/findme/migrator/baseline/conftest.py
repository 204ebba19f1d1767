"""Databases of the migration guide, and what they are converted to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from findme.migrator.baseline import recognize
from findme.migrator.baseline.catalog import Table
from findme.migrator.baseline.scratch import MigratedSchema
from tests.findme.migrator.baseline.guide_database import create_guide_tables, target_tables
from tests.support.database import Database, database, use_database


@pytest.fixture(scope="session")
def target(template: Database, django_db_blocker: DjangoDbBlocker) -> dict[str, Table]:
    """The tables as a fresh ``migrate`` creates them."""
    with django_db_blocker.unblock(), use_database(template):
        return target_tables()


@pytest.fixture(scope="session")
def guide_template() -> Iterator[Database]:
    """All four tables of the guide with rows."""
    with database() as made:
        create_guide_tables(made)
        yield made


@pytest.fixture
def guide(guide_template: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """A copy of the guide's database, which Django uses."""
    with django_db_blocker.unblock(), database(guide_template.name) as made, use_database(made):
        yield made


@pytest.fixture(scope="session")
def expected_tables(empty_guide_template: Database, django_db_blocker: DjangoDbBlocker) -> tuple[dict[str, Table], MigratedSchema]:
    with django_db_blocker.unblock(), use_database(empty_guide_template):
        return recognize._expected(connection)


@pytest.fixture
def read_once(expected_tables: tuple[dict[str, Table], MigratedSchema], monkeypatch: pytest.MonkeyPatch) -> None:
    """Create the guide's and the migrations' tables in a scratch schema once for all tests, which takes a second each time."""
    monkeypatch.setattr(recognize, "_expected", lambda _: expected_tables)
