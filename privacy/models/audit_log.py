"""The audit log."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp
from findme.core.db.restored import KEPT

OF_USERS = [
    *("export", "anonymize", "soft_delete", "erase", "undo_erasure", "retry"),
    *("restrict", "lift_restriction", "object", "withdraw_objection", "hold", "release_hold", "download_export", "delete_export"),
    *("restricted_change", "confirm_staff"),
]
OF_REQUESTS = [
    *("request_record", "request_ask", "request_identify", "request_extend", "request_approve", "request_refuse", "request_stop"),
    *("request_answer", "request_withdraw", "request_inform", "request_contact", "request_forget"),
]
"""Actions on a user, and steps of a request. The data subject of a request need not be a user."""
OF_POLICIES = ["approve_retention"]
"""Decisions that are about no single user."""


class AuditEntry(models.Model):
    """One action on a user's data, on a request of a data subject or on a collection of the vector store, with actor, time and outcome.

    There is no foreign key, so the entry outlives both users. Triggers reject a change of an entry, and a deletion before its retention ends.
    """

    class Action(models.TextChoices):
        EXPORT = "export", "Export"
        ANONYMIZE = "anonymize", "Anonymize"
        SOFT_DELETE = "soft_delete", "Soft delete"
        ERASE = "erase", "Delete for good"
        UNDO_ERASURE = "undo_erasure", "Undo an erasure"
        RETRY = "retry", "Retry"
        RESTRICT = "restrict", "Restrict"
        LIFT_RESTRICTION = "lift_restriction", "Lift a restriction"
        RESTRICTED_CHANGE = "restricted_change", "Change restricted data"
        OBJECT = "object", "Object to the matching"
        WITHDRAW_OBJECTION = "withdraw_objection", "Withdraw an objection"
        HOLD = "hold", "Hold data"
        RELEASE_HOLD = "release_hold", "Release held data"
        DOWNLOAD_EXPORT = "download_export", "Download an export"
        DELETE_EXPORT = "delete_export", "Delete an export"
        CONFIRM_STAFF = "confirm_staff", "Confirm a staff account"
        APPROVE_RETENTION = "approve_retention", "Approve the retention rules"
        ADOPT = "adopt", "Adopt a collection"
        REQUEST_RECORD = "request_record", "Record a request"
        REQUEST_ASK = "request_ask", "Ask for the identity"
        REQUEST_IDENTIFY = "request_identify", "Confirm the identity"
        REQUEST_EXTEND = "request_extend", "Extend the deadline"
        REQUEST_APPROVE = "request_approve", "Approve a request"
        REQUEST_REFUSE = "request_refuse", "Refuse a request"
        REQUEST_STOP = "request_stop", "Stop a processing"
        REQUEST_ANSWER = "request_answer", "Answer a request"
        REQUEST_WITHDRAW = "request_withdraw", "Withdraw a request"
        REQUEST_INFORM = "request_inform", "Inform a recipient"
        REQUEST_CONTACT = "request_contact", "Correct a contact address"
        REQUEST_FORGET = "request_forget", "Delete a contact address"

    class Outcome(models.TextChoices):
        STARTED = "started", "Started"
        DONE = "done", "Done"
        UNCHANGED = "unchanged", "Unchanged"
        FAILED = "failed", "Failed"
        UNKNOWN = "unknown", "Unknown"

    not_copied: ClassVar[str] = "it proves what was done in one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = KEPT

    id = models.BigAutoField(primary_key=True)
    recorded_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    actor_id = models.UUIDField(null=True, help_text="The staff member")
    actor_account = models.CharField(
        max_length=64,
        default="",
        db_default="",
        help_text="The operating system account that ran the command, or the role of PostgreSQL that changed restricted data",
    )
    action = models.CharField(max_length=20, choices=Action.choices)
    target_id = models.UUIDField(null=True, help_text="The user")
    request_id = models.UUIDField(null=True, help_text="The request of a data subject")
    collection = models.CharField(max_length=255, default="", db_default="", help_text="The collection that was adopted")
    informed_on = models.DateField(null=True, help_text="When the user was informed that the restriction would be lifted (article 18 (3))")
    outcome = models.CharField(max_length=20, choices=Outcome.choices)

    class Meta:
        db_table = "audit_log"
        default_permissions = ("view",)
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["target_id"], name="audit_log_target_id_idx"),
            models.Index(fields=["actor_id"], name="audit_log_actor_id_idx"),
            models.Index(fields=["recorded_at"], name="audit_log_recorded_at_idx"),
            models.Index(fields=["request_id"], name="audit_log_request_id_idx", condition=Q(request_id__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(action__in=[*OF_USERS, *OF_POLICIES, "adopt", *OF_REQUESTS]),
                name="audit_log_action_check",
            ),
            models.CheckConstraint(
                condition=Q(outcome__in=["started", "done", "unchanged", "failed", "unknown"]), name="audit_log_outcome_check"
            ),
            models.CheckConstraint(
                condition=Q(actor_id__isnull=True, actor_account__gt="") | Q(actor_id__isnull=False, actor_account=""),
                name="audit_log_actor_check",
            ),
            models.CheckConstraint(
                condition=Q(action="adopt", target_id__isnull=True, request_id__isnull=True, collection__gt="")
                | Q(action__in=OF_USERS, target_id__isnull=False, request_id__isnull=True, collection="")
                | Q(action__in=OF_POLICIES, target_id__isnull=True, request_id__isnull=True, collection="")
                # A rollback drops the ids of requests and keeps the entries, so they must be valid without an id.
                | Q(action__in=OF_REQUESTS, collection=""),
                name="audit_log_target_check",
            ),
            models.CheckConstraint(
                condition=Q(informed_on__isnull=True) | Q(action="lift_restriction"), name="audit_log_informed_on_check"
            ),
            *supported_dates("audit_log", "recorded_at", "informed_on"),
        ]

    def __str__(self) -> str:
        return f"{self.action} of {self.target_id or self.request_id or self.collection}: {self.outcome}"
