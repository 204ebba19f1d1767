"""The erasure ledger: what was done to the data of which user, without naming the user.

The ledger outlives the data and the backups, so it must not become a copy of what it records. A user is the HMAC of the id under a key outside the
database. There is no text column, and the counts can only have the names in ``COUNTED``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q, Value

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp, HasCounts, IsDigest, IsSignature
from findme.core.db.restored import KEPT, SEARCHES

COUNTED = (
    *("audit_log", "calls", "erasure", "exports", "files", "log_ins", "matches", "profile", "requests", "snapshots", "vector_import"),
    *("vector_store", "vector_sync", "videos"),
)
"""The names that the counts of an entry can have: sections of owners, and what stores outside PostgreSQL hold."""


class LedgerEntry(models.Model):
    """One action on the data of one user. Triggers number the entries, chain them by SHA-256, and reject every change.

    ``subject`` is the HMAC-SHA256 of the user's UUID under the key ``key_id``. ``plan_digest`` is that of the plan that was approved, or of
    the id of a request for rectification. ``previous`` is
    the ``digest`` of the entry before, and 32 zero bytes for the first one. ``digest`` is the SHA-256 of the canonical JSON of all other columns
    (RFC 8785).
    """

    class Kind(models.IntegerChoices):
        """What was done. An even number undoes the number before. A rectification has no undoing."""

        ERASE = 1, "Erase"
        UNDO_ERASE = 2, "Undo an erasure"
        ANONYMIZE = 3, "Anonymize"
        UNDO_ANONYMIZE = 4, "Undo an anonymization"
        SOFT_DELETE = 5, "Soft delete"
        UNDO_SOFT_DELETE = 6, "Undo a soft deletion"
        RESTRICT = 7, "Restrict"
        UNDO_RESTRICT = 8, "Lift a restriction"
        OBJECT = 9, "Object"
        UNDO_OBJECT = 10, "Withdraw an objection"
        RECTIFY = 11, "Rectify"

    not_copied: ClassVar[str] = "it proves what was done in one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = KEPT

    position = models.BigIntegerField(primary_key=True)
    recorded_at = models.DateTimeField(editable=False)
    kind = models.SmallIntegerField(choices=Kind.choices)
    subject = models.BinaryField()
    key_id = models.SmallIntegerField()
    plan_digest = models.BinaryField(null=True)
    policy_version = models.IntegerField()
    counts: models.JSONField[Any, Any] = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    previous = models.BinaryField()
    digest = models.BinaryField()

    class Meta:
        db_table = "erasure_ledger"
        default_permissions = ("view",)
        verbose_name_plural = "ledger entries"
        indexes = [models.Index(fields=["subject"], name="erasure_ledger_subject_idx")]
        constraints = [
            models.CheckConstraint(condition=Q(position__gt=0), name="erasure_ledger_position_check"),
            models.CheckConstraint(condition=Q(kind__gte=1, kind__lte=11), name="erasure_ledger_kind_check"),
            models.CheckConstraint(condition=Q(key_id__gt=0), name="erasure_ledger_key_id_check"),
            models.CheckConstraint(condition=Q(policy_version__gt=0), name="erasure_ledger_policy_version_check"),
            models.CheckConstraint(condition=IsDigest("subject"), name="erasure_ledger_subject_check"),
            models.CheckConstraint(condition=IsDigest("plan_digest"), name="erasure_ledger_plan_digest_check"),
            models.CheckConstraint(condition=HasCounts("counts", names=COUNTED), name="erasure_ledger_counts_check"),
            *supported_dates("erasure_ledger", "recorded_at"),
        ]

    def __str__(self) -> str:
        return str(self.position)


class LedgerCheckpoint(models.Model):
    """The position and the digest of an entry that was deleted after its retention, with all entries before it. The next entry continues from it.

    ``last_recorded_at`` is the time of that entry, and ``retention_days`` was the retention. ``key`` is the thumbprint (RFC 7638) of the key that
    signed the other columns, and ``signature`` the Ed25519 signature. Triggers reject every change.
    """

    not_copied: ClassVar[str] = "it belongs to the ledger of one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = KEPT

    position = models.BigIntegerField(primary_key=True)
    digest = models.BinaryField()
    last_recorded_at = models.DateTimeField()
    retention_days = models.IntegerField()
    created_at = models.DateTimeField()
    key = models.BinaryField()
    signature = models.BinaryField()

    class Meta:
        db_table = "ledger_checkpoints"
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(condition=Q(position__gt=0), name="ledger_checkpoints_position_check"),
            models.CheckConstraint(condition=Q(retention_days__gt=0), name="ledger_checkpoints_retention_days_check"),
            models.CheckConstraint(condition=IsDigest("digest"), name="ledger_checkpoints_digest_check"),
            models.CheckConstraint(condition=IsDigest("key"), name="ledger_checkpoints_key_check"),
            models.CheckConstraint(condition=IsSignature("signature"), name="ledger_checkpoints_signature_check"),
            *supported_dates("ledger_checkpoints", "last_recorded_at", "created_at"),
        ]

    def __str__(self) -> str:
        return str(self.position)


class PendingAction(models.Model):
    """An action that the ledger does not have yet, or that is not complete yet.

    Triggers on ``users`` and ``erased_users`` add the row in the transaction of the change, also for plain SQL: so no user leaves unseen. An action of
    ``privacy`` adds the row together with its ledger entry, before it destroys anything, and deletes it with the data. There is no foreign key,
    because the row outlives the user.
    """

    not_copied: ClassVar[str] = "the triggers of the new database note what is loaded"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = KEPT

    id = models.BigAutoField(primary_key=True)
    user_id = models.UUIDField()
    kind = models.SmallIntegerField(choices=LedgerEntry.Kind.choices)
    noted_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    is_held = models.BooleanField(
        default=False, db_default=False, help_text="Only held data is left: the action is completed when the holds end"
    )

    class Meta:
        db_table = "pending_actions"
        default_permissions = ("view",)
        indexes = [models.Index(fields=["user_id"], name="pending_actions_user_id_idx")]
        constraints = [
            models.CheckConstraint(condition=Q(kind__gte=1, kind__lte=10), name="pending_actions_kind_check"),
            *supported_dates("pending_actions", "noted_at"),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class LedgerState(models.Model):
    """The single row with the last object that the ledger outside the database has, and whether a replay has not ended."""

    not_copied: ClassVar[str] = "it belongs to the ledger of one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = SEARCHES

    id = models.SmallIntegerField(primary_key=True, default=1, db_default=Value(1))
    published_position = models.BigIntegerField(default=0, db_default=Value(0))
    published_first = models.BigIntegerField(default=0, db_default=Value(0))
    is_replaying = models.BooleanField(default=False, db_default=False)

    class Meta:
        db_table = "erasure_ledger_state"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="erasure_ledger_state_one_row_check"),
            models.CheckConstraint(condition=Q(published_position__gte=0), name="erasure_ledger_state_published_check"),
        ]

    def __str__(self) -> str:
        return str(self.published_position)

    @classmethod
    def published(cls) -> int:
        """Return the last position that the ledger outside the database is known to have."""
        return cls.objects.filter(pk=1).values_list("published_position", flat=True).first() or 0
