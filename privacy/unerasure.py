"""Taking an erasure back: the only way for a user's data to be written again."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from privacy.models import ErasedUser


def take_erasures_back(user_ids: Collection[UUID]) -> int:
    """Let data of these users be written again, and return how many had been anonymized or deleted for good. Nothing that was cleared comes back.

    Raises ProgrammingError for a role that is no member of the role that owns the tables.
    """
    return ErasedUser.objects.filter(pk__in=user_ids).delete()[0]
