"""The conversion on the other PostgreSQL versions of this machine. Continuous integration runs the whole suite on the oldest one."""

from __future__ import annotations

import pytest
from pytest_django import DjangoDbBlocker

from benchmarks.guide_writers import Writers
from findme.migrator.migrate import apply_migrations
from tests.findme.migrator.baseline.guide_database import convert_tables, create_guide_tables, target_tables
from tests.findme.migrator.baseline.test_convert import assert_equal_catalogs
from tests.support.database import database, use_database
from tests.support.postgresql_versions import installed_versions, server_of_version


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.parametrize(
    "version", installed_versions() or [pytest.param(0, marks=pytest.mark.skip("no PostgreSQL in /usr/lib/postgresql"))]
)
def test_convert__other_postgresql__equals_a_migrated_database(version: int, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock(), server_of_version(version), database() as migrated, database() as guide:
        with use_database(migrated):
            apply_migrations()
        create_guide_tables(guide)
        with use_database(guide), Writers(guide.connect, pause=0.01) as writers:
            convert_tables(target_tables())
        assert [str(error) for error in writers.report.errors] == []
        assert_equal_catalogs(guide, migrated)
