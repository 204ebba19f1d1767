"""Every constraint of the migrations has a rule, and each row of a guide's database that breaks one is found by exactly that rule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction

from findme.migrator.baseline.catalog import Table, read_tables
from findme.migrator.baseline.counting import BrokenRule, Counted, count_rows
from findme.migrator.baseline.rules import Kind, Rule, rules_of
from findme.migrator.baseline.scratch import GUIDE_TABLES, migrated_tables
from tests.schema.rows import ANN, BOB, CEM, MATCH, UNUSED_ID, VIDEO, insert
from tests.schema.violations import NINE, TEN, VIOLATIONS, Violation
from tests.support.database import Database, use_database

IMPLIED = {"matches_id_pair_key", "videos_id_user_key"}
"""Unique in any case, because the columns contain the primary key."""
ON_CHANGES_ONLY = {"matches_users_check"}
"""Rules of triggers about a change: no existing row can break them."""


@pytest.fixture(scope="module")
def target(template: Database, django_db_blocker: Any) -> dict[str, Table]:
    with django_db_blocker.unblock(), use_database(template):
        return migrated_tables(connection, GUIDE_TABLES)


@pytest.fixture
def rules(empty_guide: Database, target: dict[str, Table]) -> list[Rule]:
    """The rules for a database of the guide with Ann, Bob, Cem, a match of Ann and Bob, and a video of Ann."""
    for key, name in ((ANN, "ann"), (BOB, "bob"), (CEM, "cem")):
        insert("users", id=key, email=f"{name}@example.com")
    insert("matches", id=MATCH, user_id=ANN, matched_user_id=BOB, week_number=1, year=1999)
    insert("videos", id=VIDEO)
    return rules_of(read_tables(connection, "public", GUIDE_TABLES), target)


def without_constraints(tables: dict[str, Table]) -> dict[str, Table]:
    """Return the tables as if they had no rule yet, but their primary keys."""
    return {
        name: replace(
            table,
            columns={key: replace(column, not_null=False) for key, column in table.columns.items()},
            constraints={key: one for key, one in table.constraints.items() if one.kind == "p"},
            indexes={},
        )
        for name, table in tables.items()
    }


def count(rules: list[Rule]) -> Counted:
    return count_rows(connection, GUIDE_TABLES, rules)


@contextmanager
def undone() -> Iterator[None]:
    """Undo the rows of the block. Foreign keys and triggers do not hold in it, as in a restore."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
        yield
        transaction.set_rollback(True)


# --- Completeness -----------------------------------------------------------------------------------------------------------------


def test_rules__each_constraint_of_the_migrations_has_one(target: dict[str, Table], migrated: Database) -> None:
    constraints = migrated.query(
        "SELECT conname::text FROM pg_constraint WHERE conrelid = ANY (%s::regclass[]) AND contype IN ('c', 'f', 'u', 'x')",
        list(GUIDE_TABLES),
    )
    unique_indexes = migrated.query(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = ANY (%s::regclass[]) AND indisunique AND NOT indisprimary",
        list(GUIDE_TABLES),
    )
    not_nulls = migrated.query(
        "SELECT attrelid::regclass || '.' || attname FROM pg_attribute"
        " WHERE attrelid = ANY (%s::regclass[]) AND attnum > 0 AND attnotnull AND NOT attisdropped",
        list(GUIDE_TABLES),
    )
    models = [model for model in apps.get_models() if model._meta.db_table in GUIDE_TABLES]
    by_trigger = {name for model in models for name in getattr(model, "trigger_rules", {})}
    expected = {*constraints, *unique_indexes, *not_nulls, *by_trigger} - IMPLIED - ON_CHANGES_ONLY
    found = [rule.name for rule in rules_of(without_constraints(target), target)]
    assert sorted(found) == sorted(expected | {"video_calls_users_of_match_check"})


def test_rules__each_has_a_sentence_of_its_own(target: dict[str, Table]) -> None:
    general = "There is another row with this key."
    assert [rule.name for rule in rules_of(without_constraints(target), target) if rule.sentence == general] == []


def test_rules__each_query_is_one_line(target: dict[str, Table]) -> None:
    assert [rule.name for rule in rules_of(without_constraints(target), target) if "\n" in rule.query] == []


def test_rules__columns_and_tables_that_do_not_exist_yet__give_none(rules: list[Rule], target: dict[str, Table]) -> None:
    assert [rule.name for rule in rules if "is_staff" in rule.condition or "last_login" in rule.condition] == []
    users = {"users": read_tables(connection, "public", ["users"])["users"]}
    [video] = [rule for rule in rules_of(users, target) if rule.name == "users_video_id_fkey"]
    assert video.condition == "video_id IS NOT NULL AND id IS NOT NULL"


def test_rules__converted_tables__have_no_rule_but_those_that_a_restore_can_break(target: dict[str, Table]) -> None:
    assert {rule.kind for rule in rules_of(target, target)} == {Kind.CHECK, Kind.FOREIGN_KEY, Kind.TRIGGER}


# --- Rows -------------------------------------------------------------------------------------------------------------------------


def broken_by(violation: Violation, rules: list[Rule]) -> list[BrokenRule] | None:
    """Return the rules that the row breaks, or None if the guide's own constraint rejects the row."""
    with undone():
        if violation.existing:
            insert(violation.table, **violation.existing)
        try:
            with transaction.atomic():
                key = insert(violation.table, **violation.broken)
        except IntegrityError:
            return None
        found = list(count(rules).broken)
        with connection.cursor() as cursor:
            for rule in found:
                cursor.execute(rule.query.rstrip(";"))
                assert len(cursor.fetchall()) == rule.count
                assert str(key) in rule.ids
        return found


ADDED = {"last_login", "is_staff", "is_superuser", "restricted_at", "objected_at", "unconfirmed_at"}
"""Columns that the guide does not have."""
OF_ROWS = [one for one in VIOLATIONS if one.table in GUIDE_TABLES and one.rule not in ON_CHANGES_ONLY and not ADDED & one.broken.keys()]


def first_of_each_rule() -> list[Violation]:
    return list({one.rule: one for one in OF_ROWS}.values())


ALSO = {f"video_calls_{column}_fkey": ["video_calls_users_of_match_check"] for column in ("caller_id", "callee_id")}
"""Rules that such a row breaks too."""


def test_rules__row_that_breaks_one__is_found_by_exactly_that_rule(rules: list[Rule]) -> None:
    assert count(rules).broken == ()
    missed, rejected, found = {}, set(), set()
    for violation in first_of_each_rule():
        broken = broken_by(violation, rules)
        if broken is None:
            rejected.add(violation.rule)
            continue
        names = [rule.name for rule in broken]
        found.update(names)
        if names != [violation.rule, *ALSO.get(violation.rule, [])]:
            missed[str(violation)] = names
    assert missed == {}
    # The guide's own constraints reject the other rows.
    known = {one.name for table in read_tables(connection, "public", GUIDE_TABLES).values() for one in table.constraints.values()}
    not_null = {
        f"{table.name}.{name}"
        for table in read_tables(connection, "public", GUIDE_TABLES).values()
        for name, column in table.columns.items()
        if column.not_null
    }
    assert rejected <= known | not_null
    assert found >= {rule.name for rule in rules} - rejected - known


@pytest.mark.at_length
@pytest.mark.parametrize("violation", OF_ROWS, ids=str)
def test_rules__every_row_that_breaks_one__is_found_by_exactly_that_rule(violation: Violation, rules: list[Rule]) -> None:
    broken = broken_by(violation, rules)
    assert broken is None or [rule.name for rule in broken] == [violation.rule, *ALSO.get(violation.rule, [])]


def test_count_rows__names_at_most_five_rows_and_counts_all(rules: list[Rule]) -> None:
    for number in range(7):
        insert("users", id=f"00000000-0000-4000-9000-00000000000{number}", verified=None, bio=None)
    counted = count(rules)
    [broken] = counted.broken
    assert counted.rows == {"users": 10, "videos": 1, "matches": 1, "video_calls": 0}
    assert (broken.name, broken.count, len(broken.ids)) == ("users.verified", 7, 5)
    assert broken.ids[0] == "00000000-0000-4000-9000-000000000000"
    assert broken.query == "SELECT * FROM users WHERE verified IS NULL;"
    assert broken.sentence == "The column verified needs a value."


def test_count_rows__several_rules_and_deleted_users__count_all(rules: list[Rule]) -> None:
    insert("users", email="ANN@example.com", deleted_at=NINE, updated_at=None)
    insert("matches", user_id=BOB, matched_user_id=ANN, week_number=1, year=1999)
    insert("video_calls", status="ended", started_at=TEN, ended_at=NINE, metadata=None)
    insert("users", email=f"DELETED_{UNUSED_ID}@FindMe.ai", date_of_birth="infinity", video_id=VIDEO)
    insert("users", date_of_birth="4713-01-01 BC", bio="x" * 100_001)
    assert {rule.name: rule.count for rule in count(rules).broken} == {
        "users.updated_at": 1,
        "idx_users_email_lower": 2,
        "matches_pair_week_number_year_key": 2,
        "video_calls.metadata": 1,
        "video_calls_ended_at_check": 1,
        "users_reserved_email_check": 1,
        "users_date_of_birth_range_check": 2,
        "users_video_id_fkey": 1,
        "users_bio_length_check": 1,
    }


def test_count_rows__soft_deleted_pair__breaks_no_rule(rules: list[Rule]) -> None:
    insert("matches", user_id=BOB, matched_user_id=ANN, week_number=1, year=1999, deleted_at=NINE)
    assert count(rules).broken == ()


def test_count_rows__while_a_writer_holds_rows__does_not_wait(rules: list[Rule], empty_guide: Database) -> None:
    with empty_guide.connect() as writer, connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1ms'")
        writer.execute(
            "BEGIN; UPDATE users SET bio = 'x'; INSERT INTO videos (user_id, storage_url, duration, file_size) SELECT id, '', 1, 1 FROM users"
        )
        assert count(rules).broken == ()
