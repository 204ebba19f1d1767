"""Taking an erasure back: the only way for a user's data to be written again."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db import transaction

from privacy.audit import Action, record_each
from privacy.models import ErasedUser


def take_erasures_back(user_ids: Collection[UUID], *, actor_id: UUID | None = None) -> int:
    """Let data of these users be written again, and return how many had been anonymized or deleted for good. Nothing that was cleared comes back.

    Raises ProgrammingError for a role that is no member of the role that owns the tables.
    """
    with transaction.atomic():
        erased = ErasedUser.objects.filter(pk__in=user_ids)
        found = list(erased.select_for_update().values_list("pk", flat=True))
        record_each(Action.UNDO_ERASURE, found, actor_id=actor_id)
        return erased.delete()[0]
