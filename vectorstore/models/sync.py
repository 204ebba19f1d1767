"""The sync queue, the leases and the workers.

Nothing here has a foreign key to ``users``, because the deletion of a user must reach Qdrant too.
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp
from findme.core.db.restored import KEPT


class QueueEntry(models.Model):
    """A user whose point may be out of date. Triggers insert it in the transaction that changes the user.

    ``user_id`` is None after a TRUNCATE, which can affect any user. ``urgent`` entries (deletions, changed flags) overtake the others. A recheck
    ``awaits_ack`` until Qdrant answers a request that was sent after the recheck was queued. It is then due at ``not_before``.

    ``cause`` decides about a point whose vector exists only in Qdrant (``vectorstore.retention.unique_vectors``). A deletion deletes that point, and
    so does a TRUNCATE (an entry without a user and without a cause). An orphan scan, a recheck and any other change keep it.
    """

    class Cause(models.TextChoices):
        CHANGE = "", "Change"
        DELETION = "deletion", "Deletion"
        SCAN = "scan", "Scan"
        RECHECK = "recheck", "Recheck"

    not_copied: ClassVar[str] = "the triggers of the new database queue every user that is loaded"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = KEPT

    id = models.BigAutoField(primary_key=True)
    user_id = models.UUIDField(null=True)
    urgent = models.BooleanField(default=False, db_default=False)
    queued_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    not_before = models.DateTimeField(null=True)
    awaits_ack = models.BooleanField(default=False, db_default=False)
    cause = models.CharField(max_length=8, choices=Cause.choices, default="", db_default="", blank=True)

    class Meta:
        db_table = "vector_sync_queue"
        verbose_name_plural = "queue entries"
        constraints = [*supported_dates("vector_sync_queue", "queued_at", "not_before")]
        indexes = [
            models.Index(fields=["user_id"], name="vector_sync_queue_user_idx"),
            models.Index(fields=["id"], name="vector_sync_queue_urgent_idx", condition=Q(urgent=True)),
            models.Index(fields=["queued_at"], name="vector_sync_queue_awaiting_idx", condition=Q(awaits_ack=True)),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class SyncLease(models.Model):
    """A user whose points only one worker may write until ``expires_at``."""

    not_copied: ClassVar[str] = "it is held by a worker of one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = "workers"

    user_id = models.UUIDField(primary_key=True)
    worker_id = models.UUIDField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "vector_sync_leases"
        constraints = [*supported_dates("vector_sync_leases", "expires_at")]
        indexes = [models.Index(fields=["worker_id"], name="vector_sync_leases_worker_idx")]

    def __str__(self) -> str:
        return str(self.pk)


class SyncWorker(models.Model):
    """A running worker. While a worker is registered as sleeping, a transaction that adds to the queue notifies it."""

    not_copied: ClassVar[str] = "it is a running worker of one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = "workers"

    id = models.UUIDField(primary_key=True)
    host = models.TextField()
    pid = models.IntegerField()
    started_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    heartbeat_at = models.DateTimeField(db_default=TransactionNow())
    sleeping_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "vector_sync_workers"
        constraints = [*supported_dates("vector_sync_workers", "started_at", "heartbeat_at", "sleeping_until")]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class QuarantinedUser(models.Model):
    """A user whose data Qdrant rejected. Sync skips the user until the user changes or an operator retries."""

    not_copied: ClassVar[str] = "it says what Qdrant rejected for one database, and the new one tries every user again"
    after_restore: ClassVar[str] = "workers"

    user_id = models.UUIDField(primary_key=True)
    reason = models.TextField()
    collection = models.TextField()
    quarantined_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        db_table = "vector_sync_quarantine"
        verbose_name = "quarantined user"
        verbose_name_plural = "quarantined users"
        constraints = [*supported_dates("vector_sync_quarantine", "quarantined_at")]
        permissions = [("retry_quarantined", "Can retry quarantined users")]

    def __str__(self) -> str:
        return str(self.pk)
