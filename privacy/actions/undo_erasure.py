"""Undo an erasure: only then can the user's data be written again."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db import transaction

from privacy.audit import Action, record_each
from privacy.models import ErasedUser


def undo_erasures(user_ids: Collection[UUID], *, actor_id: UUID | None = None) -> int:
    """Allow data of these users to be written again, and return how many had been anonymized or deleted for good.

    This restores no data. Raise ProgrammingError if the role is not a member of the role that owns the tables.
    """
    with transaction.atomic():
        erased = ErasedUser.objects.filter(pk__in=user_ids)
        found = list(erased.select_for_update().values_list("pk", flat=True))
        record_each(Action.UNDO_ERASURE, found, actor_id=actor_id)
        return erased.delete()[0]
