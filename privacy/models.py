"""Anonymized and deleted users, and the audit log."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp


class ErasedUser(models.Model):
    """A user who was anonymized or, with ``deleted``, deleted for good.

    Triggers add the row, and reject data of the user in every table. There is no foreign key, because the row outlives the user. To undo an
    erasure, the role that owns the table deletes the row. ``flush`` keeps the rows, because they protect users against copies of their data
    outside the database.
    """

    user_id = models.UUIDField(primary_key=True)
    erased_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    deleted = models.BooleanField(db_default=False, default=False)

    kept_by_flush = True

    class Meta:
        db_table = "erased_users"
        default_permissions = ("view",)
        constraints = [*supported_dates("erased_users", "erased_at")]

    def __str__(self) -> str:
        return str(self.user_id)


class AuditEntry(models.Model):
    """One action on a user's data or on a collection of the vector store, with actor, time and outcome.

    There is no foreign key, so the entry outlives both users. Triggers reject a change of an entry, and a deletion before its retention ends.
    """

    class Action(models.TextChoices):
        EXPORT = "export", "Export"
        ANONYMIZE = "anonymize", "Anonymize"
        SOFT_DELETE = "soft_delete", "Soft delete"
        ERASE = "erase", "Delete for good"
        UNDO_ERASURE = "undo_erasure", "Undo an erasure"
        RETRY = "retry", "Retry"
        ADOPT = "adopt", "Adopt a collection"

    class Outcome(models.TextChoices):
        STARTED = "started", "Started"
        DONE = "done", "Done"
        UNCHANGED = "unchanged", "Unchanged"
        FAILED = "failed", "Failed"
        UNKNOWN = "unknown", "Unknown"

    not_copied: ClassVar[str] = "it proves what was done in one database"
    kept_by_flush: ClassVar[bool] = True

    id = models.BigAutoField(primary_key=True)
    recorded_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    actor_id = models.UUIDField(null=True, help_text="The staff member")
    actor_account = models.CharField(
        max_length=64, default="", db_default="", help_text="The operating system account that ran the command"
    )
    action = models.CharField(max_length=20, choices=Action.choices)
    target_id = models.UUIDField(null=True, help_text="The user")
    collection = models.CharField(max_length=255, default="", db_default="", help_text="The collection that was adopted")
    outcome = models.CharField(max_length=20, choices=Outcome.choices)

    class Meta:
        db_table = "audit_log"
        default_permissions = ("view",)
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["target_id"], name="audit_log_target_id_idx"),
            models.Index(fields=["actor_id"], name="audit_log_actor_id_idx"),
            models.Index(fields=["recorded_at"], name="audit_log_recorded_at_idx"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(action__in=["export", "anonymize", "soft_delete", "erase", "undo_erasure", "retry", "adopt"]),
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
                condition=Q(action="adopt", target_id__isnull=True, collection__gt="")
                | (~Q(action="adopt") & Q(target_id__isnull=False, collection="")),
                name="audit_log_target_check",
            ),
            *supported_dates("audit_log", "recorded_at"),
        ]

    def __str__(self) -> str:
        return f"{self.action} of {self.target_id or self.collection}: {self.outcome}"
