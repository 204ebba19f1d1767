"""Personal data of ``privacy``: ids of anonymized or deleted users, and the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from privacy import audit
from privacy.declarations import Category, Disposition, Export, Link, LinkKind, PersonalData, Retention, TableDeclaration
from privacy.models import AuditEntry, ErasedUser
from privacy.purposes import ACCOUNTABILITY
from privacy.registry import Effect, PersonalDataOwner, registry

UNTIL_UNDONE = Retention("until the erasure is undone")


class Erasures(PersonalDataOwner):
    """Owns the ids of erased users. Id and time outlive the user, so no copy restores the data (GDPR, article 5, paragraph 2)."""

    section = "erasure"
    is_last = True
    tables = {
        "privacy.ErasedUser": TableDeclaration(
            links=(Link("user_id", LinkKind.ID),),
            data=(
                PersonalData(
                    fields=("erased_at",),
                    category=Category.PRIVACY_RECORDS,
                    purpose=ACCOUNTABILITY,
                    retention=UNTIL_UNDONE,
                    anonymize=Disposition.KEPT,
                    erase=Disposition.KEPT,
                ),
                PersonalData(
                    fields=("user_id", "deleted"),
                    category=Category.PRIVACY_RECORDS,
                    purpose=ACCOUNTABILITY,
                    retention=UNTIL_UNDONE,
                    export=Export.NEVER,
                    reason="the profile has the same id, and a user with data is not deleted",
                    anonymize=Disposition.KEPT,
                    erase=Disposition.KEPT,
                ),
            ),
        )
    }

    def export(self, user_id: UUID) -> dict[str, Any]:
        """Return the time of the anonymization, or None."""
        return {"anonymized_at": ErasedUser.objects.filter(pk=user_id).values_list("erased_at", flat=True).first()}

    def anonymize(self, user_id: UUID) -> None:
        """Add the row if no trigger did.

        The trigger sees no change in an address that was anonymized before the erasure was undone.
        """
        ErasedUser.objects.bulk_create([ErasedUser(user_id=user_id)], ignore_conflicts=True)

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        """Return no effect, because the user's own row has the same id."""
        return []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return [Effect("ids of erased users, with the time", 1, Disposition.KEPT)]

    def after_soft_deletion(self, user_id: UUID) -> list[Effect]:
        return []


class AuditLog(PersonalDataOwner):
    """Owns the audit log. Entries outlive the user until their retention ends (GDPR, articles 5 (2) and 30)."""

    section = "audit_log"
    is_last = True
    tables = {
        "privacy.AuditEntry": TableDeclaration(
            links=(Link("target_id", LinkKind.ID), Link("actor_id", LinkKind.ID)),
            data=(
                PersonalData(
                    fields=("recorded_at", "action", "target_id", "outcome"),
                    category=Category.PRIVACY_RECORDS,
                    purpose=ACCOUNTABILITY,
                    retention=Retention("the action", audit.RETENTION),
                    anonymize=Disposition.KEPT,
                    erase=Disposition.KEPT,
                ),
                PersonalData(
                    fields=("id", "actor_id", "actor_account", "collection"),
                    category=Category.PRIVACY_RECORDS,
                    purpose=ACCOUNTABILITY,
                    retention=Retention("the action", audit.RETENTION),
                    export=Export.NEVER,
                    reason="the actor is another person, and no entry about a user has a collection",
                    anonymize=Disposition.KEPT,
                    erase=Disposition.KEPT,
                ),
            ),
        )
    }

    def export(self, user_id: UUID) -> Iterator[dict[str, Any]]:
        """Yield the entries about the user and, for staff, by the user. The actor is not exported."""
        columns = ("recorded_at", "action", "target_id", "outcome")
        yield from _entries(user_id).order_by("pk").values(*columns).iterator()

    def anonymize(self, user_id: UUID) -> None:
        """Change nothing: an entry has no name and no address."""

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        count = _entries(user_id).count()
        return [Effect("audit log entries, by id", count, Disposition.KEPT)] if count else []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return self.after_anonymization(user_id)

    def after_soft_deletion(self, user_id: UUID) -> list[Effect]:
        return []

    def delete_expired(self) -> int:
        return audit.expired().delete()[0]


def _entries(user_id: UUID) -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(Q(target_id=user_id) | Q(actor_id=user_id))


registry.register(Erasures())
registry.register(AuditLog())
