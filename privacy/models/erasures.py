"""Erasures: the approved plan of each, its steps, and its two ends."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q

from findme.core.db.constraints import ForeignKeyConstraint, foreign_key
from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp, HasCounts, IsDigest
from findme.core.db.restored import KEPT
from privacy.models.ledger import COUNTED

_SECTIONS = "|".join(COUNTED)
PLANNED = (
    *(r"deleted\.[a-z_][a-z0-9_]{0,62}", r"cleared\.[a-z_][a-z0-9_]{0,62}", r"kept\.[a-z_][a-z0-9_]{0,62}"),
    *(rf"store\.({_SECTIONS}|other)", rf"hold\.({_SECTIONS})\.17_3_[a-e]", "files_deleted", "files_kept", "backup_days"),
)
"""The names that a plan can have, as regular expressions. A trigger also requires that the tables exist."""


class Erasure(models.Model):
    """One erasure of a user, or of a batch of users by a rule of retention, from the plan to the last byte.

    ``plan`` has the counts at the time of the approval, and ``plan_digest`` the SHA-256 of what is deleted and kept, without the counts. Of a batch,
    ``plan`` has only the number of users, ``plan_digest`` is the digest of the approved rules, and ``ledger_position`` that of the last user.
    ``hid_user`` says whether the approval has hidden the user. There is no foreign key to users, because the row outlives the user.
    """

    class State(models.TextChoices):
        SEALED = "sealed", "Sealed"
        ERASED = "erased", "Erased"
        PURGED = "purged", "Purged"
        STOPPED = "stopped", "Stopped"

    class StopReason(models.TextChoices):
        PLAN_CHANGED = "plan_changed", "The plan has changed"
        TOO_OLD = "too_old", "The plan is too old"
        REQUEST_CLOSED = "request_closed", "The request was refused or withdrawn"
        FAILED = "failed", "Nothing was erased"

    not_copied: ClassVar[str] = "it proves what was done in one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = "approved erasures"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    request = foreign_key("privacy.DataSubjectRequest", related_name="erasures", null=True)
    user_id = models.UUIDField(null=True)
    user_ids: ArrayField[list[UUID] | None, list[UUID] | None] = ArrayField(models.UUIDField(), null=True)
    state = models.CharField(max_length=10, choices=State.choices, default="sealed", db_default="sealed")
    plan: models.JSONField[Any, Any] = models.JSONField()
    plan_digest = models.BinaryField()
    policy_version = models.IntegerField()
    hid_user = models.BooleanField(default=False, db_default=False)
    ledger_position = models.BigIntegerField(null=True)
    sealed_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    erased_at = models.DateTimeField(null=True)
    purged_at = models.DateTimeField(null=True)
    stopped_at = models.DateTimeField(null=True)
    stop_reason = models.CharField(max_length=20, choices=StopReason.choices, default="", db_default="")

    class Meta:
        db_table = "erasures"
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["user_id"], name="erasures_user_id_idx"),
            models.Index(fields=["request"], name="erasures_request_id_idx"),
            models.Index(fields=["sealed_at"], name="erasures_open_idx", condition=Q(state__in=["sealed", "erased"])),
            GinIndex(fields=["user_ids"], name="erasures_user_ids_idx"),
        ]
        constraints = [
            ForeignKeyConstraint(
                columns=["request_id"], to_table="data_subject_requests", on_delete="CASCADE", name="erasures_request_id_fkey"
            ),
            models.UniqueConstraint(fields=["user_id"], name="erasures_sealed_key", condition=Q(state="sealed")),
            models.CheckConstraint(
                condition=Q(state="sealed", erased_at__isnull=True, purged_at__isnull=True, stopped_at__isnull=True)
                | Q(state="erased", erased_at__isnull=False, purged_at__isnull=True, stopped_at__isnull=True)
                | Q(state="purged", erased_at__isnull=False, purged_at__isnull=False, stopped_at__isnull=True)
                | Q(state="stopped", erased_at__isnull=True, purged_at__isnull=True, stopped_at__isnull=False),
                name="erasures_state_check",
            ),
            models.CheckConstraint(
                condition=Q(stopped_at__isnull=True, stop_reason="")
                | Q(stopped_at__isnull=False, stop_reason__in=["plan_changed", "too_old", "request_closed", "failed"]),
                name="erasures_stop_reason_check",
            ),
            models.CheckConstraint(
                condition=Q(user_id__isnull=False, user_ids__isnull=True)
                | Q(user_id__isnull=True, user_ids__isnull=False, user_ids__len__gt=0, request__isnull=True, hid_user=False),
                name="erasures_users_check",
            ),
            models.CheckConstraint(condition=HasCounts("plan", names=PLANNED), name="erasures_plan_check"),
            models.CheckConstraint(condition=IsDigest("plan_digest"), name="erasures_plan_digest_check"),
            models.CheckConstraint(condition=Q(policy_version__gt=0), name="erasures_policy_version_check"),
            models.CheckConstraint(condition=Q(ledger_position__gt=0), name="erasures_ledger_position_check"),
            *supported_dates("erasures", "sealed_at", "erased_at", "purged_at", "stopped_at"),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def user(self) -> UUID:
        """Return the user of an erasure that is no batch."""
        assert self.user_id is not None
        return self.user_id


class ErasureStep(models.Model):
    """One step of an erasure. ``checked_at`` is the last attempt, and ``waits_for`` says why it was not done then.

    ``count`` is the number of objects that the step has deleted or cleared. Of a batch it is that of the users, in the step ``rows`` only. A step that
    is done never changes.
    """

    class Step(models.TextChoices):
        """The steps in their order. ``privacy.actions.erasures`` has those of one transaction, and those that purge."""

        EXPORTS = "exports", "Stored exports"
        FILES = "files", "Files"
        LOG_INS = "log_ins", "Logins"
        SESSIONS = "sessions", "Sessions"
        ROWS = "rows", "Rows"
        ADMIN_LOG = "admin_log", "Admin log"
        POINT = "point", "Point"
        SCAN = "scan", "Scan of the stores"
        SEGMENTS = "segments", "Bytes in the stores"
        SNAPSHOTS = "snapshots", "Snapshots"
        BACKUPS = "backups", "Backups"

    class WaitsFor(models.TextChoices):
        HOLD = "hold", "the end of a hold"
        LOCK = "lock", "another transaction"
        LEDGER = "ledger", "the ledger outside"
        STORE = "store", "a store that is unavailable"
        FILE_STORE = "file_store", "a file store that is unavailable"
        FINDING = "finding", "a point that the scan has found"
        SEGMENTS = "segments", "Qdrant, which has not rewritten its segments"
        WRITE_LOG = "write_log", "the write-ahead log of Qdrant"
        SNAPSHOTS = "snapshots", "the deletion of older snapshots"
        RETENTION = "retention", "the end of the retention of backups"
        SETTING = "setting", "the setting BACKUP_RETENTION_DAYS"
        OPERATOR = "operator", "the operator"

    not_copied: ClassVar[str] = "it proves what was done in one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = KEPT

    id = models.BigAutoField(primary_key=True)
    erasure = foreign_key("privacy.Erasure", related_name="steps")
    step = models.CharField(max_length=10, choices=Step.choices)
    done_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    count = models.BigIntegerField(default=0, db_default=0)
    waits_for = models.CharField(max_length=10, choices=WaitsFor.choices, default="", db_default="")
    waits_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "erasure_steps"
        default_permissions = ()
        constraints = [
            ForeignKeyConstraint(columns=["erasure_id"], to_table="erasures", on_delete="CASCADE", name="erasure_steps_erasure_id_fkey"),
            models.UniqueConstraint(fields=["erasure", "step"], name="erasure_steps_key"),
            models.CheckConstraint(
                condition=Q(
                    step__in=[
                        *("exports", "files", "log_ins", "sessions", "rows", "admin_log", "point"),
                        *("scan", "segments", "snapshots", "backups"),
                    ]
                ),
                name="erasure_steps_step_check",
            ),
            models.CheckConstraint(
                condition=Q(done_at__isnull=False, waits_for="", waits_until__isnull=True)
                | Q(done_at__isnull=True, waits_for="", waits_until__isnull=True)
                | Q(
                    done_at__isnull=True,
                    waits_for__in=[
                        *("hold", "lock", "ledger", "store", "file_store", "finding", "segments", "write_log"),
                        *("snapshots", "retention", "setting", "operator"),
                    ],
                ),
                name="erasure_steps_waits_for_check",
            ),
            models.CheckConstraint(condition=Q(count__gte=0), name="erasure_steps_count_check"),
            *supported_dates("erasure_steps", "done_at", "checked_at", "waits_until"),
        ]

    def __str__(self) -> str:
        return f"{self.step} of {self.erasure_id}"
