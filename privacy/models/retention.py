"""Approvals of the rules of retention."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp, IsDigest
from findme.core.db.restored import KEPT


class RetentionApproval(models.Model):
    """One approved version of the rules of ``RETENTION_RULES``: ``digest`` is the SHA-256 of their canonical JSON.

    The audit log has who approved it.
    """

    not_copied: ClassVar[str] = "it permits the deletion of rows of one database"
    after_restore: ClassVar[str] = KEPT

    id = models.BigAutoField(primary_key=True)
    digest = models.BinaryField()
    approved_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)

    class Meta:
        db_table = "retention_approvals"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["digest"], name="retention_approvals_digest_key"),
            models.CheckConstraint(condition=IsDigest("digest"), name="retention_approvals_digest_check"),
            *supported_dates("retention_approvals", "approved_at"),
        ]

    def __str__(self) -> str:
        return bytes(self.digest).hex()
