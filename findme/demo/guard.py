"""The demo changes users' data and prints a login: so it refuses to run in a database with other users, and runs once at a time."""

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


def refuse_foreign_data(known: Collection[UUID]) -> None:
    """Reads, and changes nothing. Raises UserFacingError if PostgreSQL has a person or Qdrant a point that is not KNOWN, StoreUnavailable
    if one of them cannot be asked. A table or a collection that does not exist yet holds no user."""
    person = _foreign_user(known)
    if person is not None:
        raise UserFacingError(
            f"The database {connection.settings_dict['NAME']!r} holds a person who is not of the demo, {person!r}, and nothing was touched."
            " Give the demo an empty database: DATABASE_URL, or EMBEDDED_POSTGRES_DIR for an embedded one."
        )
    # Under its own name too: an alias that was lost is made again, and whatever is behind it is brought in step.
    for collection in (collection_name(), first_collection()):
        point = _foreign_point(collection, known)
        if point is not None:
            raise UserFacingError(
                f"The collection {collection!r} holds a point that is not of the demo, {point!r}, and nothing was touched."
                " Give the demo a collection of its own: QDRANT_COLLECTION, or QDRANT_PATH for an embedded one."
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
    """An advisory lock, held by a connection of its own, which goes with the process. Raises UserFacingError if another demo holds it."""
    with closing(connection.copy()) as own:
        name = own.settings_dict["NAME"]
        with AdvisoryLock(own, LOCK_KEY).held(
            0, lambda: UserFacingError(f"Another demo is running in the database {name!r}: wait until it is done.")
        ):
            yield
