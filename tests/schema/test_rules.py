"""Each rule of the database refuses what breaks it and lets its twin pass, in plain SQL; and there is no rule without such a test."""

from __future__ import annotations

import pytest

from tests.schema.breaches import BREACHES, Breach
from tests.schema.rows import ask, insert, refused, settle, update

TABLES = ["users", "videos", "matches", "video_calls", "profile_embeddings"]

pytestmark = [pytest.mark.usefixtures("users"), pytest.mark.no_cover]


@pytest.mark.parametrize("breach", BREACHES, ids=str)
def test_insert__is_refused_by_the_rule_and_its_twin_passes(breach: Breach) -> None:
    if breach.beside:
        insert(breach.table, **breach.beside)
    with refused(breach.rule, breach.sqlstate):
        insert(breach.table, **breach.broken)
    insert(breach.table, **breach.permitted)
    settle()


@pytest.mark.parametrize("breach", [breach for breach in BREACHES if breach.by_update], ids=str)
def test_update__is_refused_by_the_rule_and_its_twin_passes(breach: Breach) -> None:
    if breach.beside:
        insert(breach.table, **breach.beside)
    key = insert(breach.table)
    with refused(breach.rule, breach.sqlstate):
        update(breach.table, key, **breach.broken)
    update(breach.table, key, **breach.permitted)
    settle()


def test_rules__none_is_without_a_test() -> None:
    constraints = ask(
        "SELECT conname FROM pg_constraint WHERE conrelid = ANY (%s::regclass[]) AND contype IN ('c', 'f', 'p', 'u', 'x')", TABLES
    )
    unique_indexes = ask("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = ANY (%s::regclass[]) AND indisunique", TABLES)
    not_nulls = ask(
        "SELECT attrelid::regclass || '.' || attname FROM pg_attribute"
        " WHERE attrelid = ANY (%s::regclass[]) AND attnum > 0 AND attnotnull AND NOT attisdropped",
        TABLES,
    )
    rules = {name for (name,) in (*constraints, *unique_indexes, *not_nulls)}
    # It holds by itself, the id being unique: it is there for the foreign key of the calls to refer to.
    rules.remove("matches_id_pair_key")
    rules.remove("videos_id_user_key")  # the same, for users.video_id
    assert rules == {breach.rule for breach in BREACHES}
