"""The schema that the tables are looked up in. Its name is the operator's, so ``search_path`` is checked and not set."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.errors import UserFacingError
from findme.core.postgresql.diagnosis import wrong_search_path


def require_search_path(connection: BaseDatabaseWrapper) -> None:
    """Raise UserFacingError if the tables are in a schema that ``search_path`` does not lead to: ``migrate`` would make them a second
    time."""
    with connection.cursor() as cursor:
        if (problem := wrong_search_path(cursor)) is not None:
            raise UserFacingError(f"PostgreSQL: {problem}")
