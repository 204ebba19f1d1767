from django.apps import AppConfig

from findme.migrator.baseline.remedies import Remedy

_LATER = """
    id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (
                PARTITION BY LEAST(user_id, matched_user_id), GREATEST(user_id, matched_user_id), week_number, year
                ORDER BY {first}created_at NULLS LAST, id
            ) AS position FROM matches WHERE deleted_at IS NULL AND num_nulls(user_id, matched_user_id) = 0
        ) AS ranked WHERE position > 1
    )
"""
_SPELLING = "lower(btrim({column})) IN ('', 'accepted', 'rejected') AND {column} NOT IN ('accepted', 'rejected')"
_WITH_CALLS = "EXISTS (SELECT FROM video_calls WHERE video_calls.match_id = matches.id) DESC, "


def _keep_one(first: str, described: str, *tables: str) -> Remedy:
    """Keep one match of each pair of users and week. The calls of the others stay: a soft deletion deletes no call."""
    rows = " ".join(_LATER.format(first=first).split())
    return Remedy("matches_pair_week_number_year_key", f"Soft-delete all but {described}", "deleted_at", "now()", rows, tables)


def _correct_spelling(column: str) -> Remedy:
    return Remedy(
        f"matches_{column}_check",
        f"Correct upper case and spaces in {column}, and set an empty text to NULL",
        column,
        f"nullif(lower(btrim({column})), '')",
        _SPELLING.format(column=column),
    )


class MatchingConfig(AppConfig):
    name = "matching"
    verbose_name = "Matching"
    trigger_files = (
        ("0001_initial", "0001_updated_at"),
        ("0001_initial", "0001_users"),
        ("0004_erased_users", "0004_erased_users"),
        ("0005_holds", "0005_holds"),
    )
    remedies = (
        _keep_one(_WITH_CALLS, "one match of each pair in a week: the one with calls, else the earliest", "video_calls"),
        _keep_one("", "the earliest match of each pair in a week"),
        _correct_spelling("user_action"),
        _correct_spelling("matched_user_action"),
        Remedy("matches.created_at", "Set created_at to updated_at, else to now", "created_at", "coalesce(updated_at, now())"),
        Remedy("matches.updated_at", "Set updated_at to created_at, else to now", "updated_at", "coalesce(created_at, now())"),
    )
