"""Video calls of a match: table ``video_calls``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import models
from django.db.models import F, Q, Value

from findme.core.db.constraints import ForeignKeyConstraint, foreign_key
from findme.core.db.dates import supported_dates
from findme.core.db.restored import KEPT
from findme.core.models import IdentifiedModel
from findme.core.values.json_fields import ExactJSONField

if TYPE_CHECKING:
    from accounts.models import User
    from matching.models import Match


class VideoCallQuerySet(models.QuerySet["VideoCall"]):
    def of(self, user: User) -> Self:
        """Return the calls in which ``user`` is the caller or the callee."""
        return self.filter(Q(caller=user) | Q(callee=user))

    def ongoing(self) -> Self:
        """Return the calls that have not ended."""
        return self.filter(status__in=[VideoCall.Status.INITIATED, VideoCall.Status.RINGING, VideoCall.Status.ACTIVE])


class VideoCall(IdentifiedModel):
    """One call between the two users of a match, in either direction.

    ``duration`` is in seconds, ``quality_rating`` from 1 to 5.
    """

    after_restore: ClassVar[str] = KEPT

    constraint_fields = {
        "video_calls_ended_at_check": "ended_at",
        "video_calls_ended_times_check": "ended_at",
        "video_calls_users_of_match_check": "callee",
    }
    trigger_rules = {"video_calls_users_of_match_check": "The two users of a call must be the users of its match."}

    class Status(models.TextChoices):
        INITIATED = "initiated", "Initiated"
        RINGING = "ringing", "Ringing"
        ACTIVE = "active", "Active"
        ENDED = "ended", "Ended"
        MISSED = "missed", "Missed"
        REJECTED = "rejected", "Rejected"

    match: models.ForeignKey[Match, Match] = foreign_key("matching.Match", related_name="calls")
    caller: models.ForeignKey[User, User] = foreign_key(settings.AUTH_USER_MODEL, related_name="calls_made")
    callee: models.ForeignKey[User, User] = foreign_key(settings.AUTH_USER_MODEL, related_name="calls_received")
    session_id = models.CharField(max_length=255)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    duration = models.IntegerField(null=True, blank=True)
    status = models.CharField(max_length=50, choices=Status, default=Status.INITIATED, db_default="initiated")
    recording_url = models.CharField(max_length=500, null=True, blank=True)  # noqa: DJ001  # the guide's column
    quality_rating = models.IntegerField(null=True, blank=True)
    metadata: models.JSONField[Any, Any] = ExactJSONField(default=dict, blank=True, db_default=Value({}, output_field=models.JSONField()))

    objects = VideoCallQuerySet.as_manager()

    class Meta:
        db_table = "video_calls"
        constraints = [
            models.UniqueConstraint(
                fields=["session_id"], name="video_calls_session_id_key", violation_error_message="Another call has this session."
            ),
            models.CheckConstraint(
                condition=Q(status__in=["initiated", "ringing", "active", "ended", "missed", "rejected"]),
                name="video_calls_status_check",
                violation_error_message="Unknown call status: choose one of the listed values.",
            ),
            models.CheckConstraint(
                condition=Q(quality_rating__gte=1, quality_rating__lte=5),
                name="video_calls_quality_rating_check",
                violation_error_message="A quality rating is a number from 1 to 5.",
            ),
            models.CheckConstraint(
                condition=Q(duration__gte=0),
                name="video_calls_duration_check",
                violation_error_message="A duration must be 0 seconds or more.",
            ),
            models.CheckConstraint(
                condition=Q(ended_at__gt=F("started_at")),
                name="video_calls_ended_at_check",
                violation_error_message="A call must end after it starts.",
            ),
            models.CheckConstraint(
                condition=~Q(status="ended") | Q(started_at__isnull=False, ended_at__isnull=False),
                name="video_calls_ended_times_check",
                violation_error_message="An ended call needs a start time and an end time.",
            ),
            *supported_dates("video_calls", "started_at", "ended_at", "created_at"),
            ForeignKeyConstraint(columns=["match_id"], to_table="matches", on_delete="CASCADE", name="video_calls_match_id_fkey"),
            ForeignKeyConstraint(columns=["caller_id"], to_table="users", on_delete="CASCADE", name="video_calls_caller_id_fkey"),
            ForeignKeyConstraint(columns=["callee_id"], to_table="users", on_delete="CASCADE", name="video_calls_callee_id_fkey"),
        ]
        indexes = [
            models.Index(fields=["match"], name="idx_video_calls_match"),
            models.Index(fields=["caller", "callee"], name="idx_video_calls_participants"),
            models.Index(fields=["session_id"], name="idx_video_calls_session"),
            models.Index(fields=["status"], name="idx_video_calls_status"),
            models.Index(fields=["-created_at"], name="idx_video_calls_created_at"),
            # For the cascade from users. The index on both participants serves the cascade of caller_id.
            models.Index(fields=["callee"], name="idx_video_calls_callee_id"),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    def clean(self) -> None:
        """Raise ValidationError unless the two users are the users of the match."""
        if None in (self.match_id, self.caller_id, self.callee_id):
            return
        try:
            user_ids = self.match.user_ids
        except ObjectDoesNotExist:  # the field reports it
            return
        if {self.caller_id, self.callee_id} != user_ids:
            raise ValidationError({"callee": self.trigger_rules["video_calls_users_of_match_check"]})
