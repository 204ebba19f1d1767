"""Delete the rows of users."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection

from findme.core.postgresql.arrays import uuid_array


def delete_users(user_ids: Collection[UUID]) -> None:
    """Run the guide's DELETE, in the transaction of the caller. The database does every cascade."""
    table = connection.ops.quote_name(get_user_model()._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE id = ANY(%s::uuid[])", [uuid_array(user_ids)])  # noqa: S608
