"""What PostgreSQL knows about backups. The backups themselves are in their destinations, each with its manifest."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp


class Backup(models.Model):
    """A backup in a destination of this database, as the destination was last read. Making, listing and removing backups brings the rows up to date.

    ``database`` is the server's system identifier and the name of the database, as in the manifest. ``taken_at`` is the time of the oldest data in it. ``is_complete`` is false for one of a single store, or of some tables. ``size`` is in bytes.
    ``gone_at`` is when the destination did not have it any more.
    """

    not_copied: ClassVar[str] = "it says which backups of one database exist"
    kept_by_flush: ClassVar[bool] = True

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
