"""How many users have the same year of birth and gender: the k of k-anonymity of an anonymized row."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection

SMALL = 5
"""In a group below this size, year of birth and gender may identify the user."""
NO_ERASURE = (
    "This is no erasure (GDPR, article 17): the rows stay for statistics, and together with other data they may still identify the user."
)


def group_sizes(user_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return for each user the number of users with the same year of birth and gender, the user included.

    An anonymization does not change it. A user that PostgreSQL does not have is left out. The query reads the whole table once.
    """
    table = connection.ops.quote_name(get_user_model()._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT named.id, count(*) FROM {table} AS named JOIN {table} AS same
            ON same.gender = named.gender AND extract(year FROM same.date_of_birth) = extract(year FROM named.date_of_birth)
            WHERE named.id = ANY(%s) GROUP BY named.id
            """,  # noqa: S608  # the name of the table
            [list(user_ids)],
        )
        return dict(cursor.fetchall())


def describe_groups(user_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return for each user a sentence about the group, as ``describe_group`` does."""
    return {user_id: describe_group(size) for user_id, size in group_sizes(user_ids).items()}


def describe_group(size: int) -> str:
    """Return a sentence about the group, with a warning if it is small."""
    text = f"k = {size:,} (users with the same year of birth and gender)."
    if size >= SMALL:
        return text
    return f"{text} Warning: with fewer than {SMALL}, these two values may identify the user. Delete the user for good, if that matters."
