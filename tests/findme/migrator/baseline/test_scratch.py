"""The catalogs of the guide and of the migrations are read from a scratch schema, which leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import DataError, connection

from findme.migrator.baseline import scratch
from findme.migrator.baseline.catalog import Table, read_tables
from findme.migrator.baseline.scratch import GUIDE_TABLES, guide_tables, migrated_tables
from tests.support.database import Database, database, use_database

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def empty(django_db_setup: None) -> Iterator[Database]:
    """An empty database, which Django uses."""
    with database() as found, use_database(found):
        yield found


def test_migrated_tables__equal_those_of_a_migrated_database(empty: Database, migrated: Database) -> None:
    expected = migrated_tables(connection, GUIDE_TABLES)
    with use_database(migrated):
        found = read_tables(connection, "public", GUIDE_TABLES)
    assert found == expected
    assert found.keys() == set(GUIDE_TABLES)
    assert empty.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'baseline%%' OR nspname = 'guide'") == []
    assert empty.query("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_migrated_tables__next_to_existing_ones__change_nothing(migrated: Database) -> None:
    with use_database(migrated):
        before = read_tables(connection, "public", GUIDE_TABLES)
        migrations = migrated.version()
        assert migrated_tables(connection, GUIDE_TABLES) == before == read_tables(connection, "public", GUIDE_TABLES)
        assert migrated.version() == migrations


@pytest.mark.parametrize("version", range(1, 5))
def test_guide_tables__of_a_version(empty: Database, version: int) -> None:
    found = guide_tables(connection, version)
    assert found.keys() == set(GUIDE_TABLES[:version])
    assert all(isinstance(table, Table) and table.columns and table.constraints and table.indexes for table in found.values())
    assert found["users"].columns["bio"].type == "text"
    assert {one.definition for one in found["users"].indexes.values()} >= {"USING btree (email) WHERE (deleted_at IS NULL)"}
    assert found["users"].triggers["update_users_updated_at"].definition == (
        "BEFORE UPDATE FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"
    )


def test_scratch_schema__deferred_statement_fails__leaves_no_transaction(empty: Database) -> None:
    """Django's schema editor runs its deferred statements when it ends, and does not end its own atomic block if one fails."""
    with pytest.raises(DataError), scratch._scratch_schema(connection), connection.schema_editor() as editor:
        editor.deferred_sql.append("SELECT 1 / 0")
    assert not connection.in_atomic_block
    assert empty.query("SELECT state FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%%'") == []
