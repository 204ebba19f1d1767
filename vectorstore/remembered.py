"""Of whom the mark remembers that their point was among the newest (``vectorstore.witnesses``)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Func, Q, Value

from vectorstore.models import StoreState


def forget(user_id: UUID) -> None:
    """Remember nobody until the next mark, if the person is one of them. Touches nothing if not."""
    of_them = Q(mark__newest__icontains=str(user_id)) | Q(pending_mark__newest__icontains=str(user_id))
    without: dict[str, Any] = {
        name: Func(name, Value("newest"), template="(%(expressions)s)", arg_joiner=" - ") for name in ("mark", "pending_mark")
    }
    StoreState.objects.filter(of_them).update(**without)


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
