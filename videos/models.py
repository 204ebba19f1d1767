"""Profile videos: table ``videos``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q, Value

from findme.core.db.constraints import ForeignKeyConstraint, foreign_key
from findme.core.db.dates import supported_dates
from findme.core.db.restored import KEPT
from findme.core.models import TimestampedModel
from findme.core.values.json_fields import ExactJSONField

if TYPE_CHECKING:
    from accounts.models import User


class VideoQuerySet(models.QuerySet["Video"]):
    def alive(self) -> Self:
        return self.filter(deleted_at__isnull=True)

    def verified(self) -> Self:
        """Return the videos that are not deleted and have passed the verification."""
        return self.alive().filter(status=Video.Status.VERIFIED)

    def of(self, user: User) -> Self:
        return self.filter(user=user)


class Video(TimestampedModel):
    """One uploaded video.

    ``duration`` is in seconds (1 to 120), ``file_size`` in bytes, ``verification_score`` from 0 to 1.
    """

    after_restore: ClassVar[str] = KEPT

    constraint_fields = {"videos_id_user_key": "user"}

    class Status(models.TextChoices):
        UPLOADING = "uploading", "Uploading"
        PROCESSING = "processing", "Processing"
        VERIFYING = "verifying", "Verifying"
        VERIFIED = "verified", "Verified"
        REJECTED = "rejected", "Rejected"
        ERROR = "error", "Error"

    user: models.ForeignKey[User, User] = foreign_key(settings.AUTH_USER_MODEL, related_name="videos")
    storage_url = models.CharField(max_length=500)
    thumbnail_url = models.CharField(max_length=500, null=True, blank=True)  # noqa: DJ001  # the guide's column
    duration = models.IntegerField()
    file_size = models.BigIntegerField()
    status = models.CharField(max_length=50, choices=Status, default=Status.PROCESSING, db_default="processing")
    verification_score = models.FloatField(null=True, blank=True)
    rejection_reason = models.TextField(null=True, blank=True)  # noqa: DJ001  # the guide's column
    metadata: models.JSONField[Any, Any] = ExactJSONField(default=dict, blank=True, db_default=Value({}, output_field=models.JSONField()))

    objects = VideoQuerySet.as_manager()

    class Meta:
        db_table = "videos"
        constraints = [
            models.CheckConstraint(
                condition=Q(duration__gt=0, duration__lte=120),
                name="videos_duration_check",
                violation_error_message="A video lasts from 1 to 120 seconds.",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["uploading", "processing", "verifying", "verified", "rejected", "error"]),
                name="videos_status_check",
                violation_error_message="Unknown video status: choose one of the listed values.",
            ),
            models.CheckConstraint(
                condition=Q(verification_score__gte=0, verification_score__lte=1),
                name="videos_verification_score_check",
                violation_error_message="A verification score is a number from 0 to 1.",
            ),
            # users.video_id refers to this key, so that it can only name a video of the same user.
            models.UniqueConstraint(fields=["id", "user"], name="videos_id_user_key"),
            *supported_dates("videos", "created_at", "updated_at", "deleted_at"),
            ForeignKeyConstraint(columns=["user_id"], to_table="users", on_delete="CASCADE", name="videos_user_id_fkey"),
        ]
        indexes = [
            models.Index(fields=["user"], name="idx_videos_user_id", condition=Q(deleted_at__isnull=True)),
            models.Index(fields=["status"], name="idx_videos_status", condition=Q(deleted_at__isnull=True)),
            models.Index(fields=["-created_at"], name="idx_videos_created_at"),
            GinIndex(fields=["metadata"], name="idx_videos_metadata"),
            # The cascade from users also deletes soft-deleted videos, which the guide's partial index on user_id does not have.
            models.Index(fields=["user"], name="idx_videos_user_id_cascade"),
        ]

    def __str__(self) -> str:
        return str(self.pk)
