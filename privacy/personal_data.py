"""Personal data of ``privacy``: ids of anonymized or deleted users, erasures, requests of data subjects, and the audit log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet

import privacy.kept_exports.personal_data  # noqa: F401  # registers its owner
from privacy import audit
from privacy.declarations import Category, Disposition, Export, Link, LinkKind, PersonalData, Purpose, Retention, TableDeclaration
from privacy.json_schemas import TIME, Schema, array_of, object_of, or_null, row_of
from privacy.ledger.book import entries_of
from privacy.ledger.expiry import count_expired, expire
from privacy.models import AuditEntry, DataSubjectRequest, ErasedUser, Erasure, Hold, RequestRecipient
from privacy.models.expired_records import delete_expired_records
from privacy.purposes import ACCOUNTABILITY, REQUESTS
from privacy.registry import Effect, PersonalDataOwner, registry
from privacy.retention_rules import AppliedRule

LEDGER_RETENTION = Retention("as long as a backup or another copy can have the user")
WITH_HOLD = Retention("until the operator deletes the hold, three years after its end at the earliest")
OF_HOLD = ("set_at", "section", "article", "until", "released_at")
UNTIL_UNDONE = Retention("until the erasure is undone")
WITH_ERASURE = Retention("until the operator deletes the erasure, three years after its end at the earliest")
OF_ERASURE = ("request", "state", "sealed_at", "erased_at", "purged_at", "stopped_at")


def _record(
    *,
    fields: tuple[str, ...],
    retention: Retention,
    purpose: Purpose = ACCOUNTABILITY,
    category: Category = Category.PRIVACY_RECORDS,
    reason: str = "",
) -> PersonalData:
    """Return the declaration of a record that outlives the user. With a ``reason``, an export leaves its fields out."""
    return PersonalData(
        fields=fields,
        category=category,
        purpose=purpose,
        retention=retention,
        export=Export.NEVER if reason else Export.COMPLETE,
        reason=reason,
        anonymize=Disposition.KEPT,
        erase=Disposition.KEPT,
    )


class Erasures(PersonalDataOwner):
    """Owns the ids of erased users, and the records of erasures. They outlive the user, so no copy restores the data (GDPR, article 5, paragraph 2)."""

    section = "erasure"
    is_last = True
    tables = {
        "privacy.ErasedUser": TableDeclaration(
            links=(Link("user_id", LinkKind.ID),),
            data=(
                _record(fields=("erased_at",), retention=UNTIL_UNDONE),
                _record(
                    fields=("user_id", "deleted"),
                    retention=UNTIL_UNDONE,
                    reason="the profile has the same id, and a user with data is not deleted",
                ),
            ),
        ),
        "privacy.PendingAction": TableDeclaration(
            links=(Link("user_id", LinkKind.ID),),
            data=(
                _record(
                    fields=("id", "user_id", "kind", "noted_at", "is_held"),
                    retention=Retention("until the action is complete"),
                    reason="the row exists only until the ledger has the action, and the export contains the ledger",
                ),
            ),
        ),
        "privacy.Erasure": TableDeclaration(
            links=(Link("user_id", LinkKind.ID), Link("user_ids", LinkKind.CONTENT)),
            data=(
                _record(fields=OF_ERASURE, retention=WITH_ERASURE),
                _record(
                    fields=(
                        "id",
                        "user_id",
                        "user_ids",
                        "plan",
                        "plan_digest",
                        "policy_version",
                        "hid_user",
                        "ledger_position",
                        "stop_reason",
                    ),
                    retention=WITH_ERASURE,
                    reason="the values say how the erasure was done, and the profile has the same id",
                ),
            ),
        ),
        "privacy.ErasureStep": TableDeclaration(
            links=(Link("erasure", LinkKind.ROW),),
            data=(
                _record(
                    fields=("id", "erasure", "step", "done_at", "checked_at", "count", "waits_for", "waits_until"),
                    retention=WITH_ERASURE,
                    reason="the values say how the erasure was done",
                ),
            ),
        ),
        "privacy.Hold": TableDeclaration(
            links=(Link("user_id", LinkKind.ID), Link("set_by_id", LinkKind.ID), Link("released_by_id", LinkKind.ID)),
            data=(
                _record(fields=OF_HOLD, retention=WITH_HOLD),
                _record(
                    fields=("id", "user_id"),
                    retention=WITH_HOLD,
                    reason="the profile has the same id, and the number says nothing about the user",
                ),
                _record(
                    fields=("set_by_id", "set_by_account", "released_by_id", "released_by_account"),
                    retention=WITH_HOLD,
                    category=Category.STAFF_ACTIONS,
                    reason="the actor is another person, and the audit log has the holds that a member of staff set",
                ),
            ),
        ),
    }

    def export(self, user_id: UUID) -> dict[str, Any]:
        """Return the time of the anonymization, or None, the erasures that were approved, and the holds."""
        return {
            "anonymized_at": ErasedUser.objects.filter(pk=user_id).values_list("erased_at", flat=True).first(),
            "erasures": list(_erasures_of(user_id).order_by("sealed_at", "pk").values(*OF_ERASURE)),
            "holds": list(Hold.objects.filter(user_id=user_id).order_by("pk").values(*OF_HOLD)),
        }

    def export_schema(self) -> Schema:
        return object_of(
            {
                "anonymized_at": or_null(TIME),
                "erasures": array_of(row_of(self.tables, "privacy.Erasure")),
                "holds": array_of(row_of(self.tables, "privacy.Hold")),
            }
        )

    def anonymize(self, user_id: UUID) -> None:
        """Add the row if no trigger did.

        The trigger sees no change in an address that was anonymized before the erasure was undone.
        """
        ErasedUser.objects.bulk_create([ErasedUser(user_id=user_id)], ignore_conflicts=True)

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        """Return the holds only, because the user's own row has the same id as that of an erased user."""
        count = Hold.objects.filter(user_id=user_id).count()
        return [Effect("holds, by id", count, Disposition.KEPT)] if count else []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return [Effect("ids of erased users, with the time", 1, Disposition.KEPT), *self.after_anonymization(user_id)]

    def after_soft_deletion(self, user_id: UUID) -> list[Effect]:
        return []


WITH_REQUEST = Retention("until the operator deletes the request, three years after its end at the earliest")
OF_STAFF = (
    *("recorded_by_id", "recorded_by_account", "identity_confirmed_by_id", "identity_confirmed_by_account"),
    *("approved_by_id", "approved_by_account"),
)
OF_REQUEST = (
    *(
        "id",
        "recorded_at",
        "kind",
        "state",
        "user_id",
        "processing",
        "received_on",
        "first_due_on",
        "due_on",
        "identity_asked_on",
        "identity_confirmed_on",
    ),
    *("identity_method", "extension_informed_on", "extension_reason", "approved_at", "stopped_on", "refusal_ground"),
    *("informed_of_remedies", "withdrawal_reason", "closed_on"),
)
OF_RECIPIENT = ("id", "recipient", "informed_on", "not_informed_reason")


class Requests(PersonalDataOwner):
    """Owns the requests of data subjects. A request outlives the user as a proof of the answer (GDPR, article 5, paragraph 2).

    Its contact address stays until the time for complaints is over: without it, the data subject could not receive the answer to an erasure.
    ``manage.py process_requests`` deletes it.
    """

    section = "requests"
    is_last = True
    tables = {
        "privacy.DataSubjectRequest": TableDeclaration(
            links=(
                Link("user_id", LinkKind.ID),
                Link("recorded_by_id", LinkKind.ID),
                Link("identity_confirmed_by_id", LinkKind.ID),
                Link("approved_by_id", LinkKind.ID),
            ),
            data=(
                _record(fields=OF_REQUEST, retention=WITH_REQUEST, purpose=REQUESTS),
                _record(
                    fields=("contact",),
                    retention=Retention(f"until {settings.REQUEST_CONTACT_DAYS} days after the end of the request"),
                    purpose=REQUESTS,
                    category=Category.CONTACT,
                ),
                _record(
                    fields=OF_STAFF,
                    retention=WITH_REQUEST,
                    purpose=REQUESTS,
                    category=Category.STAFF_ACTIONS,
                    reason="the actor is another person, and the audit log has the steps of a member of staff",
                ),
            ),
        ),
        "privacy.RequestRecipient": TableDeclaration(
            links=(Link("request", LinkKind.ROW),),
            data=(
                _record(fields=OF_RECIPIENT, retention=WITH_REQUEST, purpose=REQUESTS),
                _record(fields=("request",), retention=WITH_REQUEST, purpose=REQUESTS, reason="the recipients are in their request"),
            ),
        ),
    }

    def export(self, user_id: UUID) -> Iterator[dict[str, Any]]:
        """Yield the user's requests with their recipients. The staff who handled them are not exported."""
        recipients: defaultdict[UUID, list[dict[str, Any]]] = defaultdict(list)
        rows = RequestRecipient.objects.filter(request__user_id=user_id).order_by("recipient")
        for request_id, *values in rows.values_list("request_id", *OF_RECIPIENT):
            recipients[request_id].append(dict(zip(OF_RECIPIENT, values, strict=True)))
        for request in _requests(user_id).order_by("received_on", "pk").values(*OF_REQUEST, "contact").iterator():
            yield {**request, "recipients": recipients[request["id"]]}

    def export_schema(self) -> Schema:
        recipients = array_of(row_of(self.tables, "privacy.RequestRecipient"))
        return array_of(row_of(self.tables, "privacy.DataSubjectRequest", recipients=recipients))

    def anonymize(self, user_id: UUID) -> None:
        """Change nothing: the answer must still reach the data subject, and be proven."""

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        effects = (
            Effect("requests, by id", _requests(user_id).count(), Disposition.KEPT),
            Effect(
                "contact addresses of requests, until the time for complaints is over",
                _requests(user_id).filter(contact__isnull=False).count(),
                Disposition.KEPT,
            ),
        )
        return [effect for effect in effects if effect.count]

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return self.after_anonymization(user_id)

    def after_soft_deletion(self, user_id: UUID) -> list[Effect]:
        return []


def _requests(user_id: UUID) -> QuerySet[DataSubjectRequest]:
    return DataSubjectRequest.objects.filter(user_id=user_id)


class AuditLog(PersonalDataOwner):
    """Owns the audit log. Entries outlive the user until their retention ends (GDPR, articles 5 (2) and 30)."""

    section = "audit_log"
    is_last = True
    tables = {
        "privacy.AuditEntry": TableDeclaration(
            links=(Link("target_id", LinkKind.ID), Link("actor_id", LinkKind.ID)),
            data=(
                _record(
                    fields=("recorded_at", "action", "target_id", "request_id", "outcome", "informed_on"),
                    retention=Retention("the action", audit.RETENTION),
                ),
                _record(
                    fields=("id", "actor_id", "actor_account", "collection"),
                    retention=Retention("the action", audit.RETENTION),
                    reason="the actor is another person, and no entry about a user has a collection",
                ),
            ),
        ),
    }

    def export(self, user_id: UUID) -> Iterator[dict[str, Any]]:
        """Yield the entries about the user and, for staff, by the user. The actor is not exported, and neither is the request of another person."""
        columns = ("recorded_at", "action", "target_id", "request_id", "outcome", "informed_on")
        for entry in _entries(user_id).order_by("pk").values(*columns).iterator():
            yield entry if entry["target_id"] == user_id else {**entry, "request_id": None, "informed_on": None}

    def export_schema(self) -> Schema:
        return array_of(row_of(self.tables, "privacy.AuditEntry"))

    def anonymize(self, user_id: UUID) -> None:
        """Change nothing: an entry has no name and no address."""

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        count = _entries(user_id).count()
        return [Effect("audit log entries, by id", count, Disposition.KEPT)] if count else []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return self.after_anonymization(user_id)

    def after_soft_deletion(self, user_id: UUID) -> list[Effect]:
        return []

    def count_expired(self) -> int:
        return audit.expired().count()

    def delete_expired(self) -> int:
        return delete_expired_records(AuditEntry)


@dataclass(frozen=True, kw_only=True)
class _LedgerRule(AppliedRule):
    """Entries go behind a signed checkpoint."""

    def count(self, days: int) -> int:
        return count_expired(days)

    def apply(self, days: int) -> int:
        return expire(days)


class Ledger(PersonalDataOwner):
    """Owns the erasure ledger. It names users by an HMAC, and outlives all copies of their data (GDPR, article 5 (2))."""

    section = "ledger"
    retention_rules = (
        _LedgerRule(
            name="ledger",
            what="entries of the erasure ledger",
            since="the action",
            category=Category.PRIVACY_RECORDS,
            least_days=audit.RETENTION.days,
        ),
    )
    is_last = True
    tables = {
        "privacy.LedgerEntry": TableDeclaration(
            links=(Link("subject", LinkKind.CONTENT),),
            data=(
                _record(fields=("recorded_at", "kind"), retention=LEDGER_RETENTION),
                _record(
                    fields=("position", "subject", "key_id", "plan_digest", "policy_version", "counts", "previous", "digest"),
                    retention=LEDGER_RETENTION,
                    reason="the values prove that no entry was changed, and say nothing about the user",
                ),
            ),
        ),
    }

    def export(self, user_id: UUID) -> list[dict[str, Any]]:
        """Return what was done, and when."""
        return [{"recorded_at": entry.recorded_at, "kind": entry.kind.label} for entry in entries_of(user_id)]

    def export_schema(self) -> Schema:
        return array_of(row_of(self.tables, "privacy.LedgerEntry", kind={"type": "string"}))

    def anonymize(self, user_id: UUID) -> None:
        """Change nothing: an entry is never changed."""

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        """Return no effect: the ledger does not have the id."""
        return []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return []


def _entries(user_id: UUID) -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(Q(target_id=user_id) | Q(actor_id=user_id))


def _erasures_of(user_id: UUID) -> QuerySet[Erasure]:
    return Erasure.objects.filter(Q(user_id=user_id) | Q(user_ids__contains=[user_id]))


registry.register(Erasures())
registry.register(Requests())
registry.register(AuditLog())
registry.register(Ledger())
