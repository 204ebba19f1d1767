"""Users without a point after a restore, who may have been erased after the backup was made.

A restored PostgreSQL does not know the erasures after its backup, but Qdrant lacks the points of those users. So no command writes their points
again before an operator has checked the list. Without a restore, a user without a point is waiting on the queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from privacy.ledger.gate import compare_with_outside
from privacy.ledger.publication import LedgerBehind
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import qdrant

PAGE_SIZE = 1000


class PossiblyErased(UserFacingError):
    """A store was restored, and the users ``ids`` exist in PostgreSQL but have no point. Nothing was changed."""

    def __init__(self, ids: list[UUID], command: str) -> None:
        self.ids = ids
        super().__init__(
            f"A store was restored, and {counted(len(ids), 'user has', 'users have')} no point: each may have been erased after the backup. Nothing was"
            f" changed. {_way_out(command)}"
        )


def _way_out(command: str) -> str:
    """Return the next step. A ledger that is ahead of the database knows who was erased."""
    try:
        compare_with_outside()
    except LedgerBehind:
        return f"The ledger outside has erasures that the database lacks: run manage.py replay_erasures first, and then run {command}."
    except UserFacingError:
        pass  # the ledger outside says nothing
    return f"Erase again those who were, with manage.py erase_user ID --hard, and then run {command} --after-restore."


def require_after_restore(collection: str, command: str) -> None:
    """Raise PossiblyErased unless every user who must have a point has one in ``collection``.

    ``command`` is the command that the operator runs again.
    """
    if ids := list(users_without_point(collection)):
        raise PossiblyErased(ids, command)


def users_without_point(collection: str) -> Iterator[UUID]:
    """Yield the users who must have a point and have none, queued or not, in the order of their ids."""
    rows, low = ProfileEmbedding.objects.projectable().order_by("pk"), UUID(int=0)
    while ids := list(rows.filter(pk__gt=low).values_list("pk", flat=True)[:PAGE_SIZE]):
        with qdrant() as client:
            found = client.retrieve(collection, [str(user_id) for user_id in ids], with_payload=False, with_vectors=False)
        points = {str(record.id) for record in found}
        yield from (user_id for user_id in ids if str(user_id) not in points)
        low = ids[-1]
