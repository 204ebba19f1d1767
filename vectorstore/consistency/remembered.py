"""Of whom the mark remembers that their point was among the newest (``vectorstore.consistency.sentinels``)."""

from __future__ import annotations

from uuid import UUID

from django.db import connection, transaction

from vectorstore.models import StoreState


def forget(user_id: UUID) -> None:
    """Remember the person no longer. Waits for whoever is just remembering somebody, and holds them up until the caller's transaction ends: it is the
    last thing to do in one, and whoever remembers afterwards sees what that has changed."""
    with transaction.atomic():
        state = StoreState.objects.select_for_update().filter(pk=1).first()
        if state is None:
            return
        marks = [mark for mark in (state.mark, state.pending_mark) if mark is not None and "newest" in mark]
        if str(user_id) not in str(marks):
            return
        for mark in marks:
            mark["newest"] = {name: [one for one in found if one[0] != str(user_id)] for name, found in mark["newest"].items()}
        state.save(update_fields=["mark", "pending_mark"])


def forget_collection(name: str) -> None:
    """Remember nothing of the points of a collection, whose name the next one may bear. Waits for whoever is just remembering."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE vector_store_state
            SET mark = mark #- ARRAY['newest', %(name)s], pending_mark = pending_mark #- ARRAY['newest', %(name)s]
            """,
            {"name": name},
        )
