"""Each rule rejects a row that violates it and accepts a permitted twin, in plain SQL. Each constraint, and each trigger of a rule, has such a test."""

from __future__ import annotations

import pytest

from tests.schema.rows import ask, insert, refused, settle, update
from tests.schema.violations import VIOLATIONS, Violation

TABLES = ["users", "videos", "matches", "video_calls", "profile_embeddings"]

pytestmark = [pytest.mark.usefixtures("users"), pytest.mark.no_cover]


@pytest.mark.parametrize("violation", [violation for violation in VIOLATIONS if violation.by_insert], ids=str)
def test_insert__is_rejected_by_the_constraint_and_its_twin_is_accepted(violation: Violation) -> None:
    if violation.existing:
        insert(violation.table, **violation.existing)
    with refused(violation.rule, violation.sqlstate):
        insert(violation.table, **violation.broken)
    insert(violation.table, **violation.permitted)
    settle()


@pytest.mark.parametrize("violation", [violation for violation in VIOLATIONS if violation.by_update], ids=str)
def test_update__is_rejected_by_the_constraint_and_its_twin_is_accepted(violation: Violation) -> None:
    settle()
    ask("ALTER TABLE users DISABLE TRIGGER users_id_kept")  # it also refuses a permitted id
    if violation.existing:
        insert(violation.table, **violation.existing)
    key = insert(violation.table)
    with refused(violation.rule, violation.sqlstate):
        update(violation.table, key, **violation.broken)
    update(violation.table, key, **violation.permitted)
    settle()


def test_rules__each_has_a_test() -> None:
    """A trigger that enforces a rule has the rule's name."""
    constraints = ask(
        "SELECT conname FROM pg_constraint WHERE conrelid = ANY (%s::regclass[]) AND contype IN ('c', 'f', 'p', 'u', 'x')", TABLES
    )
    unique_indexes = ask("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = ANY (%s::regclass[]) AND indisunique", TABLES)
    not_nulls = ask(
        "SELECT attrelid::regclass || '.' || attname FROM pg_attribute"
        " WHERE attrelid = ANY (%s::regclass[]) AND attnum > 0 AND attnotnull AND NOT attisdropped",
        TABLES,
    )
    triggers = ask(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = ANY (%s::regclass[]) AND NOT tgisinternal AND tgname LIKE '%%\\_check'", TABLES
    )
    rules = {name for (name,) in (*constraints, *unique_indexes, *not_nulls, *triggers)}
    # It cannot be violated, because the id is unique. The foreign key users.video_id refers to it.
    rules.remove("videos_id_user_key")
    assert rules == {violation.rule for violation in VIOLATIONS}
