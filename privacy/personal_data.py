"""The personal data of ``privacy`` itself: that a user was anonymized or deleted for good, and when."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from privacy.models import ErasedUser
from privacy.registry import Consequence, Fate, PersonalDataOwner, registry


class Erasures(PersonalDataOwner):
    """Residual data: the id and the time outlive the user, so that no copy of the user's data is written back (GDPR, article 5, paragraph 2)."""

    section = "erasure"
    is_last = True
    fields = {"privacy.ErasedUser": frozenset({"user_id", "erased_at", "deleted"})}

    def export(self, user_id: UUID) -> dict[str, Any]:
        """Return when the user was anonymized, if so."""
        return {"anonymized_at": ErasedUser.objects.filter(pk=user_id).values_list("erased_at", flat=True).first()}

    def anonymise(self, user_id: UUID) -> None:
        """Do nothing: a trigger adds the row."""

    def after_anonymisation(self, user_id: UUID) -> list[Consequence]:
        """Return nothing that a user has to be told: the row of the user has the same id."""
        return []

    def after_erasure(self, user_id: UUID) -> list[Consequence]:
        return [Consequence("ids of erased users, with the time", 1, Fate.KEPT)]

    def after_soft_deletion(self, user_id: UUID) -> list[Consequence]:
        return []


registry.register(Erasures())
