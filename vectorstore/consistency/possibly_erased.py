"""Users who have no point after a restore: each may have been erased after the backup was made.

A restored PostgreSQL has forgotten the erasures that came after its backup, and Qdrant has not: it lacks the points of those users. So nothing
writes their points again before an operator has looked at the list. Without a restore, a user without a point is one who waits on the queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import qdrant

PAGE_SIZE = 1000


class PossiblyErased(UserFacingError):
    """Nothing was changed. ``ids`` are the users whom PostgreSQL has and Qdrant lacks."""

    def __init__(self, ids: list[UUID], command: str) -> None:
        self.ids = ids
        super().__init__(
            f"A store was restored, and {counted(len(ids), 'user has', 'users have')} no point: each may have been erased after the backup. Nothing was"
            f" changed. Erase again those who were, with manage.py erase_user ID --hard, and then run {command} --after-restore."
        )


def require_after_restore(collection: str, command: str) -> None:
    """Raises PossiblyErased unless every user who is to have a point has one in ``collection``. ``command`` is what the operator runs again."""
    if ids := list(users_without_point(collection)):
        raise PossiblyErased(ids, command)


def users_without_point(collection: str) -> Iterator[UUID]:
    """The users who are to have a point and have none, whether they are queued or not, in the order of their ids."""
    rows, low = ProfileEmbedding.objects.projectable().order_by("pk"), UUID(int=0)
    while ids := list(rows.filter(pk__gt=low).values_list("pk", flat=True)[:PAGE_SIZE]):
        with qdrant() as client:
            found = client.retrieve(collection, [str(one) for one in ids], with_payload=False, with_vectors=False)
        points = {str(record.id) for record in found}
        yield from (one for one in ids if str(one) not in points)
        low = ids[-1]
