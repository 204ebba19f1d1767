"""Checks before the demo, which changes users' data and prints a login: no other users, and no second demo."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from uuid import UUID

from django.db import ProgrammingError, connection
from qdrant_client import models

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import UserFacingError
from vectorstore.catalog.alias import first_collection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import CollectionNotFound


def require_only_demo_data(known: Collection[UUID]) -> None:
    """Raise UserFacingError if PostgreSQL has a user, or Qdrant a point, that is not ``known``. Change nothing.

    Raises StoreUnavailable if a store cannot be reached. A missing table or collection holds no user.
    """
    user = _foreign_user(known)
    if user is not None:
        raise UserFacingError(
            f"The database {connection.settings_dict['NAME']!r} has the user {user!r}, who is not a demo user: nothing was changed."
            " Set DATABASE_URL, or EMBEDDED_POSTGRES_DIR for an embedded database, to an empty one."
        )
    # Check the first collection by its own name too: the demo recreates a lost alias and syncs the collection behind it.
    for collection in (collection_name(), first_collection()):
        point = _foreign_point(collection, known)
        if point is not None:
            raise UserFacingError(
                f"The collection {collection!r} has the point {point!r}, which is not a demo user's: nothing was changed."
                " Set QDRANT_COLLECTION, or QDRANT_PATH for an embedded Qdrant, to a new name."
            )


def _foreign_user(known: Collection[UUID]) -> str | None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('users') IS NOT NULL")
            if not cursor.fetchone()[0]:
                return None
            cursor.execute("SELECT id::text FROM users WHERE id::text <> ALL (%s) LIMIT 1", [[str(user_id) for user_id in known]])
            found = cursor.fetchone()
    except ProgrammingError as error:
        raise UserFacingError(f"The table users of the database {connection.settings_dict['NAME']!r} is not FindMe's: {error}") from error
    return None if found is None else str(found[0])


def _foreign_point(collection: str, known: Collection[UUID]) -> str | None:
    others = models.Filter(must_not=[models.HasIdCondition(has_id=[str(user_id) for user_id in known])])
    try:
        with qdrant() as client:
            points, _ = client.scroll(collection, scroll_filter=others, limit=1, with_payload=False)
    except CollectionNotFound:
        return None
    return str(points[0].id) if points else None


LOCK_KEY = int.from_bytes(b"fm demo", "big")


@contextmanager
def exclusive_demo() -> Iterator[None]:
    """Hold an advisory lock over a separate connection, so it ends with the process. Raise UserFacingError if another demo holds it."""
    with closing(connection.copy()) as own:
        name = own.settings_dict["NAME"]
        with AdvisoryLock(own, LOCK_KEY).held(
            0, lambda: UserFacingError(f"Another demo is running in the database {name!r}: wait until it is done.")
        ):
            yield
