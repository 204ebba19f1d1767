"""The indexes for queries and cascades exist, and PostgreSQL can use them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from accounts.models import User
from tests.schema.rows import ask, insert

pytestmark = pytest.mark.django_db

WITHOUT_INDEX = """
    SELECT c.conrelid::regclass || '.' || c.conname FROM pg_constraint c
    WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace AND NOT EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = c.conrelid AND i.indpred IS NULL AND i.indisvalid AND i.indkey[0] = ANY (c.conkey) AND (
            -- The key's columns are the first ones of the index, in whatever order,
            (SELECT array_agg(k ORDER BY k) FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS x(k, n) WHERE n <= cardinality(c.conkey))
                = (SELECT array_agg(k ORDER BY k) FROM unnest(c.conkey) AS k)
            -- or the index's only column is one of the key's that refers to a whole primary key already: one row, and what refers to it.
            OR i.indnatts = 1 AND EXISTS (
                SELECT FROM pg_index p WHERE p.indrelid = c.confrelid AND p.indisprimary
                AND p.indkey[0] = c.confkey[array_position(c.conkey, i.indkey[0])] AND p.indnatts = 1))
    )
"""


def test_foreign_keys__each_cascade_has_an_index() -> None:
    assert ask(WITHOUT_INDEX) == []


def test_foreign_keys__a_missing_index_is_found() -> None:
    ask("DROP INDEX idx_matches_matched_user_id, idx_videos_user_id_cascade, idx_video_calls_match")
    assert {name for (name,) in ask(WITHOUT_INDEX)} == {
        "matches.matches_matched_user_id_fkey",
        "videos.videos_user_id_fkey",
        "video_calls.video_calls_match_id_fkey",
    }


def test_foreign_keys_to_users__each_cascades_in_the_database() -> None:
    on_delete = ask("SELECT conrelid::regclass::text, confdeltype FROM pg_constraint WHERE contype = 'f' AND confrelid = 'users'::regclass")
    assert set(on_delete) == {
        (table, "c")
        for table in (
            "videos",
            "matches",
            "video_calls",
            "profile_embeddings",
            "vector_import_digests",
            "users_groups",
            "users_user_permissions",
            "django_admin_log",
        )
    }


def plan(query: str, *parameters: Any) -> str:
    """Return the plan for ``query`` without sequential scans and sorts, as for a large table."""
    ask("SET LOCAL enable_seqscan = off")
    ask("SET LOCAL enable_sort = off")
    return "\n".join(line for (line,) in ask(f"EXPLAIN {query}", *parameters))


def plan_of(queryset: QuerySet[Any]) -> str:
    sql, parameters = queryset.query.get_compiler(connection=connection).as_sql()
    return plan(sql, *parameters)


def test_full_text__the_guides_expression_uses_its_index() -> None:
    query = "SELECT id FROM users WHERE to_tsvector('english', bio) @@ to_tsquery('english', 'coffee & lover')"
    assert "idx_users_bio_search" in plan(query)


def test_email__a_login_uses_the_index_on_lower_case() -> None:
    assert "idx_users_email_lower" in plan_of(User.objects.with_email("Jane@Example.com"))


@pytest.mark.parametrize("lookup", ["full_name__icontains", "email__icontains", "full_name__istartswith"])
def test_search__by_a_part_of_a_name_or_address_uses_the_trigrams(lookup: str) -> None:
    assert "idx_users_name_email_trgm" in plan_of(User.objects.filter(**{lookup: "smith"}))


def test_search__in_both_name_and_address_uses_the_trigrams() -> None:
    found = User.objects.filter(full_name__icontains="smith") | User.objects.filter(email__icontains="smith")
    assert plan_of(found).count("idx_users_name_email_trgm") == 2


@pytest.mark.parametrize(
    ("index", "condition"),
    [
        ("idx_users_active", "users WHERE active = TRUE AND deleted_at IS NULL"),
        ("idx_users_verified", "users WHERE verified = TRUE AND deleted_at IS NULL"),
        ("idx_users_created_at", "users ORDER BY created_at DESC LIMIT 10"),
        ("idx_videos_status", "videos WHERE status = 'verified' AND deleted_at IS NULL"),
        ("idx_videos_metadata", """videos WHERE metadata @> '{"codec": "vp9"}'"""),
        ("idx_videos_created_at", "videos ORDER BY created_at DESC LIMIT 10"),
        ("idx_matches_user_week", f"matches WHERE user_id = '{'0' * 32}' AND deleted_at IS NULL ORDER BY week_number, year"),
        ("idx_matches_status", "matches WHERE status = 'pending' AND deleted_at IS NULL"),
        ("idx_matches_expires_at", "matches WHERE status = 'pending' AND expires_at < NOW()"),
        ("idx_matches_score", "matches ORDER BY match_score DESC LIMIT 10"),
        ("idx_video_calls_match", f"video_calls WHERE match_id = '{'0' * 32}'"),
        ("idx_video_calls_participants", f"video_calls WHERE caller_id = '{'0' * 32}' AND callee_id = '{'1' * 32}'"),
        ("idx_video_calls_status", "video_calls WHERE status = 'active'"),
        ("idx_video_calls_created_at", "video_calls ORDER BY created_at DESC LIMIT 10"),
    ],
)
def test_index__of_the_guide_is_used_for_its_query(index: str, condition: str) -> None:
    """The other indexes are dropped, because PostgreSQL could use them too for an empty table."""
    others = ask("SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexname LIKE 'idx_%%' AND indexname <> %s", index)
    ask(f"DROP INDEX {', '.join(name for (name,) in others)}")
    assert index in plan(f"SELECT * FROM {condition}")


@pytest.mark.parametrize(
    "unit",
    [
        "{0:x} ",
        "a{0:x}-b{0:x} ",
        "www.{0:x}.org/{0:x} ",
        "{0:x}@{0:x}.de ",
        "{0}.{0} ",
        "-{0} ",
        "/{0:x}/{0:x} ",
        "Ⱥ{0:x} ",
        "{0:x}-{0:x}-{0:x} ",
    ],
)
def test_bio__of_maximum_length_fits_the_index_with_any_words(unit: str) -> None:
    """The limit counts bytes. No text within the limit may be too large for the index."""
    words = "".join(unit.format(number) for number in range(30_000)).encode()[:100_000].decode(errors="ignore")
    assert len(words.encode()) >= 99_990
    insert("users", bio=words)
