"""All migrations of the project together."""

from __future__ import annotations

import hashlib
from itertools import cycle
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db.migrations import Migration
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.loader import MigrationLoader

from findme.environment import BASE_DIR
from findme.migrator.migrate import apply_migrations, call_django_migrate, migrating
from findme.migrator.undo.plan import is_reversible, plan_rollback
from findme.migrator.undo.rollback import roll_back
from findme.migrator.version import schema_version
from tests.findme.migrator.catalog import catalog
from tests.support.database import Database

RELEASED_SQL = Path(__file__).with_name("released_sql.sha256")
FIRST = ("migrator", "0001_schema_version")


def graph() -> MigrationGraph:
    loaded: MigrationGraph = MigrationLoader(None).graph
    return loaded


def all_migrations() -> list[Migration]:
    return [migration for migration in graph().nodes.values() if migration is not None]


PUT_BACK_AT_THE_END = ("order: django_content_type ", "order: axes_accessattempt ", "order: axes_accesslog ")


def left_by_a_reverse(line: str) -> bool:
    """Remove what the reverses leave on purpose.

    These are the extension, which other programs may use, Django's own table, and columns that a reverse adds again at the end.
    """
    return line == "extension: pg_trgm" or "django_migrations" in line or line.startswith(PUT_BACK_AT_THE_END)


def test_models__have_no_change_without_a_migration(migrated: Database) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.at_length
@pytest.mark.no_cover
@pytest.mark.long
def test_reverses__undo_exactly_what_the_migrations_did__one_by_one_down_to_nothing_and_up_again(empty: Database) -> None:
    catalogs = [catalog(empty)]
    with migrating() as run:
        run.on_done = lambda _: catalogs.append(catalog(empty))
        call_django_migrate("default")
    undone: list[list[str]] = []
    for count in cycle((1, 5)):
        # Each migration has its own transaction. A command starts after every third one on average, because its start takes most of the time.
        if not (left := len(catalogs) - 1 - len(undone)):
            break
        roll_back(plan_rollback(min(count, left)), on_undone=lambda _: undone.append(catalog(empty)))
    for before, after in zip(reversed(catalogs[:-1]), undone, strict=True):
        assert [line for line in after if not left_by_a_reverse(line)] == [line for line in before if not left_by_a_reverse(line)]
    assert [line for line in catalog(empty) if line.startswith("relation: ")] == [
        f"relation: django_migrations{rest}" for rest in (" r p f", "_id_seq S p f", "_pkey i p f")
    ]
    assert apply_migrations().version == len(catalogs) - 1
    assert catalog(empty) == catalogs[-1]


@pytest.mark.at_length
def test_capture__queues_all_users_and_records_the_day_of_their_ages(migrated: Database) -> None:
    roll_back(plan_rollback(len(schema_version().history) - _place("vectorstore.0002_capture")), force=True)
    migrated.execute(
        "INSERT INTO users (email, password_hash, full_name, date_of_birth, gender) VALUES ('a', '', '', '1990-01-01', 'male')"
    )
    migrated.execute("INSERT INTO profile_embeddings (user_id, vector) SELECT id, array_fill(0.5::real, ARRAY[512]) FROM users")
    apply_migrations()
    assert migrated.query("SELECT user_id = (SELECT id FROM users) AND NOT urgent FROM vector_sync_queue") == [True]
    assert migrated.query(
        "SELECT ages_refreshed_on = (now() AT TIME ZONE 'UTC')::date AND ages_valid_on IS NULL"
        " AND ages_last_entry_id = (SELECT id FROM vector_sync_queue) FROM vector_store_state"
    ) == [True]


def _place(migration: str) -> int:
    return [applied.description for applied in schema_version().history].index(migration)


def test_migrations__every_operation_is_reversible() -> None:
    irreversible = [str(migration) for migration in all_migrations() if not all(map(is_reversible, migration.operations))]
    assert irreversible == []


def test_migrations__one_that_is_not_atomic_has_one_operation() -> None:
    """So its state after a failure is known: no change, or an INVALID index."""
    ours = [migration for migration in all_migrations() if not type(migration).__module__.startswith("django.")]
    assert [str(migration) for migration in ours if not migration.atomic and len(migration.operations) != 1] == []


def test_migrations__all_depend_on_schema_version() -> None:
    """Otherwise the view could be missing while a migration is applied."""
    migrations = graph()
    assert [key for key in migrations.nodes if FIRST not in migrations.forwards_plan(key)] == []


def test_released_sql__never_changes() -> None:
    """To add a new file: sha256sum */migrations/sql/*.sql findme/*/migrations/sql/*.sql > tests/findme/migrator/released_sql.sha256."""
    released = {path: digest for digest, path in (line.split() for line in RELEASED_SQL.read_text().splitlines())}
    files = [*BASE_DIR.glob("*/migrations/sql/*.sql"), *BASE_DIR.glob("findme/*/migrations/sql/*.sql")]
    present = {str(path.relative_to(BASE_DIR)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert present == released
