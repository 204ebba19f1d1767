"""What PostgreSQL knows about backups. The backups themselves are in their destinations, each with its manifest."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q, Value

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp
from findme.core.db.restored import BACKUPS

VERIFICATIONS = "deep verifications"
"""Label of the function that ends those that ran at the time of a backup."""


class Backup(models.Model):
    """A backup in a destination of this database, as the destination was last read. Making, listing and removing backups brings the rows up to date.

    ``database`` is the server's system identifier and the name of the database, as in the manifest. ``taken_at`` is the time of the oldest data in it. ``is_complete`` is false for one of a single store, or of some tables. ``size`` is in bytes.
    ``gone_at`` is when the destination did not have it any more.
    """

    not_copied: ClassVar[str] = "it says which backups of one database exist"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = BACKUPS

    id = models.BigAutoField(primary_key=True)
    destination = models.TextField()
    name = models.CharField(max_length=255)
    database = models.CharField(max_length=100)
    taken_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    is_complete = models.BooleanField()
    is_encrypted = models.BooleanField()
    size = models.BigIntegerField()
    seen_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    gone_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "backups"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["destination", "name"], name="backups_destination_name_key"),
            models.CheckConstraint(condition=Q(size__gte=0), name="backups_size_check"),
            *supported_dates("backups", "taken_at", "ended_at", "seen_at", "gone_at"),
        ]

    def __str__(self) -> str:
        return self.name


class BackupVerification(models.Model):
    """One deep verification: the backup was restored into a scratch database, and compared with its manifest.

    ``destination``, ``name``, ``database``, ``taken_at`` and ``is_complete`` are those of the backup. ``finished_at`` is None while it runs. ``restore_seconds`` is
    the time until both stores were restored and equal. ``compared`` has numbers of what was compared. ``error`` is empty if the backup is proven.
    """

    not_copied: ClassVar[str] = "it says which backups of one database were proven"
    after_restore: ClassVar[str] = VERIFICATIONS

    id = models.BigAutoField(primary_key=True)
    destination = models.TextField()
    name = models.CharField(max_length=255)
    database = models.CharField(max_length=100)
    taken_at = models.DateTimeField()
    is_complete = models.BooleanField()
    started_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    finished_at = models.DateTimeField(null=True)
    seconds = models.FloatField(null=True)
    restore_seconds = models.FloatField(null=True)
    compared: models.JSONField[Any, Any] = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    error = models.TextField(default="", db_default="")

    class Meta:
        db_table = "backup_verifications"
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(condition=Q(seconds__gte=0), name="backup_verifications_seconds_check"),
            models.CheckConstraint(condition=Q(restore_seconds__gte=0), name="backup_verifications_restore_seconds_check"),
            *supported_dates("backup_verifications", "taken_at", "started_at", "finished_at"),
        ]
        indexes = [models.Index(fields=["database", "-finished_at"], name="backup_verifications_last_idx")]

    def __str__(self) -> str:
        return self.name
