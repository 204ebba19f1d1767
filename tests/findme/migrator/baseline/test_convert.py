"""The converted database equals a migrated one, keeps its rows, and belongs to the operator: ``rollback`` does not drop its tables."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from findme.core.errors import UserFacingError
from findme.migrator.baseline.catalog import Table, read_tables
from findme.migrator.baseline.comparison import remaining_differences
from findme.migrator.baseline.convert import planned_steps
from findme.migrator.baseline.scratch import GUIDE_TABLES, guide_tables
from findme.migrator.baseline.state import read_baseline
from findme.migrator.baseline.steps import conversion_steps
from findme.migrator.migrate import apply_migrations
from findme.migrator.undo.plan import plan_rollback
from findme.migrator.version import schema_version
from tests.findme.migrator.baseline.guide_database import (
    ANONYMIZED,
    convert_tables,
    convert_tables_only,
    create_guide_tables,
    rows,
    without,
)
from tests.findme.migrator.catalog import catalog
from tests.support.database import Database

OWNERS = (
    "relation: schema_migrations",
    "column: schema_migrations",
    "constraint: schema_migrations",
    "index: CREATE UNIQUE INDEX schema_migrations",
)
"""What golang-migrate and the extension uuid-ossp have made, and stays."""
STAND_IN = "function: CREATE OR REPLACE FUNCTION public.uuid_generate_v4()"


def assert_equal_catalogs(converted: Database, migrated: Database, *more: str) -> None:
    """Compare all objects of both databases. Only the order of columns may differ, and what the owner has made."""
    ignored = ("order: ", *OWNERS, STAND_IN, *more)
    assert without(catalog(converted), *ignored) == without(catalog(migrated), *ignored)


# --- The result ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_convert__all_tables_of_the_guide__equal_a_migrated_database_and_keep_their_rows(
    guide: Database, template: Database, target: dict[str, Table]
) -> None:
    before = rows(guide)
    planned = [step.description for step in planned_steps(connection, "public", target)]
    steps: list[str] = []
    done = convert_tables(target, on_step=steps.append)
    assert steps == planned
    assert_equal_catalogs(guide, template)
    assert rows(guide) == before
    assert guide.query("SELECT version FROM schema_migrations WHERE NOT dirty") == [4]
    assert guide.query("SELECT user_id::text FROM erased_users WHERE NOT deleted") == [ANONYMIZED]
    assert guide.query("SELECT count(*) FROM auth_permission WHERE codename = 'anonymize_user'") == [1]
    assert schema_version().is_current
    assert schema_version().problems == ()
    assert done.migrations == tuple(applied.description for applied in schema_version().history)
    call_command("schema_version", check=True)
    assert apply_migrations().migrations == ()
    assert planned_steps(connection, "public", target) == ()
    assert convert_tables(target).migrations == ()
    assert_rollback_is_refused()


def assert_rollback_is_refused() -> None:
    baseline = read_baseline(connection)
    assert baseline is not None
    assert baseline.completed_at is not None
    history = [applied.description for applied in schema_version().history]
    assert set(baseline.migrations) == {name for name in history if name.startswith(("accounts.", "videos.", "matching.", "calls."))}
    last = max(history.index(name) for name in baseline.migrations)
    refused = f"{history[last]} belongs to the baseline: its tables existed before FindMe and are not dropped; nothing was undone. "
    later = len(history) - last - 1
    assert len(plan_rollback(later).migrations) == later
    for arguments in (
        ("rollback", str(later + 1)),
        ("rollback", "--all", "--force"),
        ("migrate", "calls", "zero", "--force"),
        ("migrate", "calls", "zero"),
    ):
        with pytest.raises(CommandError, match="belongs to the baseline") as error:
            call_command(*arguments, "--no-input")
        assert error.value.returncode == 2
    with pytest.raises(UserFacingError) as one:
        plan_rollback(later + 1)
    assert str(one.value).startswith(refused)
    assert [applied.description for applied in schema_version().history] == history


@pytest.mark.parametrize("version", [pytest.param(1, marks=pytest.mark.at_length), 2, pytest.param(3, marks=pytest.mark.at_length)])
@pytest.mark.long
def test_convert__some_tables_of_the_guide__creates_the_others(
    empty: Database, template: Database, target: dict[str, Table], version: int
) -> None:
    create_guide_tables(empty, version)
    before = rows(empty, version)
    done = convert_tables(target)
    assert_equal_catalogs(empty, template)
    assert rows(empty, version) == before
    baseline = read_baseline(connection)
    assert baseline is not None
    apps = ("accounts.", "videos.", "matching.", "calls.")[:version]
    assert set(baseline.migrations) == {migration for migration in done.migrations if migration.startswith(apps)}


@pytest.mark.at_length
@pytest.mark.long
def test_convert__other_schema__finds_and_creates_all_tables_there(empty: Database, target: dict[str, Table]) -> None:
    create_guide_tables(empty, 2, "dating")
    empty.execute(f'ALTER DATABASE "{empty.name}" SET search_path = dating, public')
    connection.close()
    before = rows(empty, 2, "dating")
    convert_tables(target, schema="dating")
    assert read_tables(connection, "dating", GUIDE_TABLES) == target
    assert rows(empty, 2, "dating") == before
    assert empty.query("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'") == []


def test_convert__search_path_begins_with_another_schema__changes_nothing(empty: Database, target: dict[str, Table]) -> None:
    create_guide_tables(empty, 2, "dating")
    with pytest.raises(
        UserFacingError, match=r"^The tables are in the schema 'dating', but search_path begins with 'public': nothing was changed."
    ):
        convert_tables(target, schema="dating")


def test_convert__no_table_of_the_guide__names_migrate(empty: Database, target: dict[str, Table]) -> None:
    with pytest.raises(UserFacingError, match=r"has no table of the guide to convert: nothing was changed. Run manage.py migrate.$"):
        convert_tables(target)
    assert not empty.has("django_migrations")


# --- What the owner has made or renamed -----------------------------------------------------------------------------------------------


RENAMED = """
    ALTER TABLE users RENAME CONSTRAINT users_email_key TO unique_email;
    ALTER TABLE videos RENAME CONSTRAINT videos_verification_score_check TO "score: 0 to 1";
    ALTER TABLE matches RENAME CONSTRAINT matches_user_id_fkey TO matches_user;
    ALTER INDEX idx_matches_score RENAME TO best_matches;
    ALTER TRIGGER update_users_updated_at ON users RENAME TO "Touch";
"""
OWN = """
    ALTER TABLE users ADD phone text, ADD CONSTRAINT users_phone_check CHECK (phone <> ''),
        ADD CONSTRAINT baseline_phone_not_null CHECK (phone IS NOT NULL) NOT VALID;
    CREATE INDEX users_phone ON users (phone);
    CREATE INDEX users_video ON users (video_id);
    CREATE TABLE likes (id int PRIMARY KEY, user_id uuid REFERENCES users ON DELETE CASCADE);
    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER watched AFTER UPDATE ON videos FOR EACH ROW EXECUTE FUNCTION watch();
"""
OWN_OBJECTS = ("phone", "likes", "users_video ", "watch")


@pytest.mark.long
def test_convert__renamed_and_own_objects__have_our_names_and_stay(guide: Database, target: dict[str, Table]) -> None:
    guide.execute(RENAMED)
    guide.execute(OWN)
    own = {line for line in without(catalog(guide), "order: ") if any(name in line for name in OWN_OBJECTS)}
    convert_tables_only(target)
    assert own <= set(catalog(guide))
    left = remaining_differences(read_tables(connection, "public", GUIDE_TABLES), target)
    assert [one for one in left if not one.startswith("trigger ")] == []
    assert guide.query("SELECT tgname::text FROM pg_trigger WHERE tgname ~ 'users_updated_at|Touch'") == ["update_users_updated_at"]
    assert guide.query("SELECT conname::text FROM pg_constraint WHERE conname ~ '^baseline_[^p]|unique_email|score:|matches_user$'") == []
    assert not guide.has("best_matches")


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE INDEX idx_users_video_id ON users (bio)", "The index idx_users_video_id of users"),
        ("ALTER TABLE users ADD CONSTRAINT users_bio_length_check CHECK (bio <> '')", "The constraint users_bio_length_check of users"),
        (
            "ALTER TABLE users ADD CONSTRAINT baseline_users_active_not_null CHECK (active OR bio <> '')",
            "The constraint baseline_users_active_not_null of users",
        ),
    ],
)
def test_conversion_steps__name_of_the_target_is_taken__is_refused(
    guide: Database, target: dict[str, Table], made: str, named: str
) -> None:
    guide.execute(made)
    with pytest.raises(UserFacingError, match=f"^{named} has another definition than FindMe's"):
        planned_steps(connection, "public", target)


# --- The plan ---------------------------------------------------------------------------------------------------------------------------


def test_planned_steps__change_nothing(guide: Database, target: dict[str, Table]) -> None:
    before = catalog(guide)
    planned = planned_steps(connection, "public", target)
    assert catalog(guide) == before
    assert planned[0].description == "users: 6 columns, 3 defaults, 14 checks for new rows"
    assert [step.description for step in planned if "INVALID" in step.description or "rename" in step.description] == []


def test_conversion_steps__of_the_target__are_none(guide: Database, target: dict[str, Table]) -> None:
    assert conversion_steps(target, target, guide_tables(connection), {}) == []


def test_conversion_steps__refuse_new_rows_before_they_check_the_existing_ones(guide: Database, target: dict[str, Table]) -> None:
    existing = read_tables(connection, "public", GUIDE_TABLES)
    steps = conversion_steps(existing, target, guide_tables(connection), {})
    statements = [statement for step in steps for statement in step.statements]
    first_validation = next(number for number, statement in enumerate(statements) if "VALIDATE" in statement)
    assert all("NOT VALID" not in statement or "FOREIGN KEY" in statement for statement in statements[first_validation:])
    # A statement that reads or writes all rows blocks no writer.
    assert [step.description for step in steps if step.locks and any("VALIDATE CONSTRAINT" in one for one in step.statements)] == []
    assert [
        step.description
        for step in steps
        if not step.locks and "CONCURRENTLY" not in step.statements[0] and "VALIDATE" not in step.statements[0]
    ] == []


@pytest.mark.at_length
def test_recheck__finds_rows__the_next_run_continues(guide: Database, template: Database, target: dict[str, Table]) -> None:
    def refuse() -> None:
        raise UserFacingError("Rows break a rule of a trigger.")

    with pytest.raises(UserFacingError, match=r"^Rows break a rule"):
        convert_tables(target, recheck=refuse)
    baseline = read_baseline(connection)
    assert baseline is not None
    assert baseline.completed_at is None
    convert_tables(target)
    assert_equal_catalogs(guide, template)


@pytest.mark.at_length
def test_convert__remaining_difference__is_named(guide: Database, target: dict[str, Table]) -> None:
    """A difference that the steps do not know, such as another default, is refused before the conversion, and found after it in any case."""
    guide.execute("ALTER TABLE videos ALTER COLUMN rejection_reason SET DEFAULT 'none'")
    with pytest.raises(UserFacingError, match=r"^1 object still differs from a fresh migrate: column videos.rejection_reason: different\."):
        convert_tables(target)
