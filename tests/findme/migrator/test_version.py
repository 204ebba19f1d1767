from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from hypothesis import given
from hypothesis import strategies as st

from findme.migrator.migrate import apply_migrations
from findme.migrator.undo.plan import plan_rollback
from findme.migrator.undo.rollback import roll_back
from findme.migrator.version import files_of, schema_version
from tests.support.database import Database, use_database

LOADER = MigrationLoader(None)


@given(st.data())
def test_migration_files__what_is_missing_is_what_django_would_apply(data: st.DataObject) -> None:
    """This holds for any applied migrations, also if earlier ones are missing."""
    keys = sorted(LOADER.disk_migrations)
    applied = data.draw(st.one_of(st.sets(st.sampled_from(keys)), st.integers(0, len(keys)).map(lambda count: set(keys[:count]))))
    executor = MigrationExecutor.__new__(MigrationExecutor)
    executor.loader, LOADER.applied_migrations = LOADER, {key: LOADER.disk_migrations[key] for key in applied}
    wanted = [str(migration) for migration, _ in executor.migration_plan(LOADER.graph.leaf_nodes())]
    assert files_of(LOADER).unapplied(frozenset(map(".".join, applied))) == tuple(wanted)


def test_schema_version__empty_database__is_0(empty: Database, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("schema_version")
    assert capsys.readouterr().out == "version 0\n"


def test_schema_version__migrated__is_what_psql_shows(migrated: Database) -> None:
    schema = schema_version()
    with migrated.connect() as session:
        rows = session.execute("SELECT version, description, applied_at FROM schema_version ORDER BY version").fetchall()
    assert rows == [(applied.version, applied.description, applied.applied_at) for applied in schema.history]
    assert schema.version == len(rows) == rows[-1][0]
    assert rows[0][1] == "migrator.0001_schema_version"


def test_schema_version__after_a_rollback__has_no_gap(migrated: Database) -> None:
    count = schema_version().version
    roll_back(plan_rollback(3))
    assert schema_version().version == migrated.version() == count - 3
    apply_migrations()
    assert [applied.version for applied in schema_version().history] == list(range(1, count + 1))
    assert migrated.query("SELECT version FROM schema_version ORDER BY version") == list(range(1, count + 1))
    assert migrated.query("SELECT max(id) > %s FROM django_migrations", count) == [True]


def test_schema_version__view_faked_or_dropped_by_hand__is_true_all_the_same(migrated: Database) -> None:
    count = schema_version().version
    migrated.execute("DROP VIEW schema_version")
    assert schema_version().version == count


def test_schema_version__prints_the_last_one_first(migrated: Database, capsys: pytest.CaptureFixture[str]) -> None:
    migrated.execute("DELETE FROM django_migrations WHERE id > 2")
    migrated.execute("UPDATE django_migrations SET applied = '2026-02-03 04:05:06.789+00'")
    call_command("schema_version")
    assert capsys.readouterr().out.splitlines() == [
        "version 2",
        "    2  2026-02-03 04:05:06  contenttypes.0001_initial",
        "    1  2026-02-03 04:05:06  migrator.0001_schema_version",
    ]


def test_schema_version__json(migrated: Database, capsys: pytest.CaptureFixture[str]) -> None:
    migrated.execute("DELETE FROM django_migrations WHERE id > 1")
    migrated.execute("UPDATE django_migrations SET applied = '2026-02-03 04:05:06+00'")
    call_command("schema_version", json=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["version"] == 1
    assert answer["history"] == [{"version": 1, "description": "migrator.0001_schema_version", "applied_at": "2026-02-03T04:05:06+00:00"}]
    assert answer["unapplied"][0] == "contenttypes.0001_initial"
    assert answer["unknown"] == []


def test_check__database_and_code_agree__is_clean(migrated: Database) -> None:
    call_command("schema_version", check=True)


def test_check__column_and_table_of_another_program__is_clean(migrated: Database) -> None:
    """As golang-migrate adds them after a baseline."""
    migrated.execute("""
        ALTER TABLE users ADD COLUMN nickname varchar(50);
        CREATE TABLE likes (id uuid PRIMARY KEY, user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE);
    """)
    call_command("schema_version", check=True)
    call_command("makemigrations", check=True)
    assert apply_migrations().migrations == ()


def test_check__not_all_applied__exits_1_and_names_them(migrated: Database, capsys: pytest.CaptureFixture[str]) -> None:
    roll_back(plan_rollback(1))
    (missing,) = schema_version().unapplied
    with pytest.raises(SystemExit) as found:
        call_command("schema_version", check=True)
    assert found.value.code == 1
    assert f"\nnot applied: {missing}\n" in capsys.readouterr().out


def test_check__applied_and_not_in_the_code__exits_1_and_names_it(migrated: Database, capsys: pytest.CaptureFixture[str]) -> None:
    migrated.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0999_later', now())")
    with pytest.raises(SystemExit) as found:
        call_command("schema_version", check=True)
    assert found.value.code == 1
    assert "\nnot in the code: accounts.0999_later\n" in capsys.readouterr().out


def test_schema_version__no_such_database__is_not_done(migrated: Database) -> None:
    with (
        use_database(Database("nosuchdatabase")),
        pytest.raises(CommandError, match=r'database "nosuchdatabase" does not exist$') as refused,
    ):
        call_command("schema_version")
    assert refused.value.returncode == 2
