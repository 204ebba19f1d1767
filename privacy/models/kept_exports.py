"""Exports that wait for their download."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp, IsDigest


class KeptExport(models.Model):
    """One export, whose encrypted file is in ``EXPORTS_DIR`` under the id.

    ``size`` and ``sha256`` are those of the zip. Of the link's token there is only the SHA-256: the token is the key of the file. These columns and
    ``expires_at`` are empty while the export is made. ``deleted_at`` is the time when the file was deleted. There is no foreign key to users, because
    an erasure deletes the file before the row.
    """

    not_copied: ClassVar[str] = "the files are where they were made"
    after_restore: ClassVar[str] = "exports"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    user_id = models.UUIDField()
    request_id = models.UUIDField(null=True)
    made_by_id = models.UUIDField(null=True)
    made_by_account = models.CharField(max_length=64, default="", db_default="")
    created_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    expires_at = models.DateTimeField(null=True)
    downloaded_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    size = models.BigIntegerField(null=True)
    sha256 = models.BinaryField(null=True)
    token_sha256 = models.BinaryField(null=True)

    class Meta:
        db_table = "exports"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["token_sha256"], name="exports_token_sha256_key"),
            models.CheckConstraint(
                condition=Q(
                    size__isnull=True, sha256__isnull=True, token_sha256__isnull=True, expires_at__isnull=True, downloaded_at__isnull=True
                )
                | Q(size__gt=0, sha256__isnull=False, token_sha256__isnull=False, expires_at__isnull=False),
                name="exports_complete_check",
            ),
            models.CheckConstraint(
                condition=Q(made_by_id__isnull=True, made_by_account__gt="") | Q(made_by_id__isnull=False, made_by_account=""),
                name="exports_made_by_check",
            ),
            models.CheckConstraint(condition=IsDigest("sha256"), name="exports_sha256_check"),
            models.CheckConstraint(condition=IsDigest("token_sha256"), name="exports_token_sha256_check"),
            *supported_dates("exports", "created_at", "expires_at", "downloaded_at", "deleted_at"),
        ]
        indexes = [
            models.Index(fields=["user_id"], name="exports_user_id_idx"),
            models.Index(fields=["created_at"], name="exports_created_at_idx"),
            models.Index(fields=["created_at"], name="exports_kept_idx", condition=Q(deleted_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return str(self.pk)
