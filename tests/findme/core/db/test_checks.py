"""A migration that adds a constraint reports the rows that break it in one line."""

from __future__ import annotations

import pytest

from findme.core.errors import UserFacingError
from findme.migrator.migrate import apply_migrations
from findme.migrator.undo.plan import plan_rollback
from findme.migrator.undo.rollback import roll_back
from findme.migrator.version import schema_version
from tests.support.database import Database

USER = (
    "INSERT INTO users (email, password_hash, full_name, gender, date_of_birth) VALUES ('{}', '', 'Ann', 'male', '{}') RETURNING id::text"
)


def undo_from(migration: str) -> None:
    names = [applied.description for applied in schema_version().history]
    roll_back(plan_rollback(len(names) - names.index(migration)), force=True)


@pytest.mark.at_length
@pytest.mark.long
def test_migrate__names_the_rows_that_break_a_new_rule_and_changes_nothing(migrated: Database) -> None:
    undo_from("accounts.0004_date_and_length_checks")
    before = schema_version().version
    (odd,) = migrated.query(USER.format("a@example.com", "infinity"))
    several = sorted(key for n in range(12) for key in migrated.query(USER.format(f"b{n}@example.com", "19900-05-01")))
    named = ", ".join(sorted([odd, *several])[:10])
    with pytest.raises(UserFacingError) as raised:
        apply_migrations()
    assert str(raised.value) == (
        "Table users has rows that break a new constraint: nothing was changed. users_date_of_birth_range_check: 13 rows"
        f" ({named}, ...). A date must be from 0001-01-02 to 9999-12-30. Correct these rows, then run manage.py migrate again."
    )
    assert "example.com" not in str(raised.value)
    assert schema_version().version == before
    migrated.execute("UPDATE users SET date_of_birth = '1990-05-01'")
    apply_migrations()
    assert migrated.query("SELECT bool_and(convalidated) FROM pg_constraint WHERE contype = 'c' AND conname LIKE '%_range_check'") == [True]


@pytest.mark.at_length
@pytest.mark.long
def test_migrate__finds_rows_from_before_the_validation(migrated: Database) -> None:
    """A NOT VALID constraint rejects new rows. Existing rows that break it are found before validation."""
    undo_from("accounts.0005_validate_date_and_length_checks")
    refused = migrated.query("SELECT count(*) FROM pg_constraint WHERE conname LIKE 'users_%_check' AND NOT convalidated")
    assert refused == [6]
    migrated.execute("ALTER TABLE users DROP CONSTRAINT users_bio_length_check")
    (key,) = migrated.query(
        "INSERT INTO users (email, password_hash, full_name, gender, date_of_birth, bio)"
        " VALUES ('a', '', '', 'male', '1990-01-01', repeat('x', 100001)) RETURNING id::text"
    )
    migrated.execute("ALTER TABLE users ADD CONSTRAINT users_bio_length_check CHECK (octet_length(bio) <= 100000) NOT VALID")
    with pytest.raises(UserFacingError) as raised:
        apply_migrations()
    assert f"users_bio_length_check: 1 row ({key}). A bio can have at most 100,000 bytes (UTF-8)" in str(raised.value)


@pytest.mark.long
def test_migrate__names_the_embeddings_that_are_too_large(migrated: Database) -> None:
    undo_from("vectorstore.0010_embedding_sizes")
    (key,) = migrated.query(USER.format("a@example.com", "1990-05-01"))
    migrated.execute(
        "INSERT INTO profile_embeddings (user_id, vector, interests, video_features)"
        f" VALUES ('{key}', array_fill(0.5::real, '{{512}}'), array_fill(repeat('a', 101), '{{101}}'), array_fill(0.5::real, '{{1025}}'))"
    )
    with pytest.raises(UserFacingError) as raised:
        apply_migrations()
    assert str(raised.value) == (
        "Table profile_embeddings has rows that break a new constraint: nothing was changed."
        f" profile_embeddings_interests_count_check: 1 row ({key}). A user has at most 100 interests."
        f" profile_embeddings_interests_length_check: 1 row ({key}). An interest has at most 100 characters."
        f" profile_embeddings_video_features_count_check: 1 row ({key}). Video features are at most 1,024 numbers."
        " Correct these rows, then run manage.py migrate again."
    )
    migrated.execute("UPDATE profile_embeddings SET interests = '{sea}', video_features = NULL")
    apply_migrations()
    checks = "SELECT convalidated FROM pg_constraint WHERE conname ~ '^profile_embeddings_.*(interests|features)_(count|length)_check$'"
    assert migrated.query(checks) == [True] * 3


@pytest.mark.at_length
@pytest.mark.long
def test_rollback__keeps_rows_that_break_a_constraint_of_before(migrated: Database) -> None:
    """The audit log is append-only, so entries of requests stay after the columns of requests are gone."""
    entry = "INSERT INTO audit_log (actor_account, action, request_id, outcome) VALUES ('ann', 'request_record', gen_random_uuid(), 'done')"
    valid = "SELECT convalidated FROM pg_constraint WHERE conname IN ('audit_log_action_check', 'audit_log_target_check')"
    undo_from("privacy.0003_audit_log_requests")
    assert migrated.query(valid) == [True, True]
    apply_migrations()
    migrated.execute(entry)
    undo_from("privacy.0003_audit_log_requests")
    assert migrated.query("SELECT action FROM audit_log") == ["request_record"]
    assert migrated.query(valid) == [False, False]
    apply_migrations()
    assert migrated.query(valid) == [True, True]
