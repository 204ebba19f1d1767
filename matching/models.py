"""Matches of two users in one week: table ``matches``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Greatest, Least

from findme.core.db.constraints import ForeignKeyConstraint, foreign_key
from findme.core.db.dates import supported_dates
from findme.core.db.expressions import IsoWeeksInYear
from findme.core.db.restored import KEPT
from findme.core.models import TimestampedModel

if TYPE_CHECKING:
    from uuid import UUID

    from accounts.models import User


class MatchQuerySet(models.QuerySet["Match"]):
    def alive(self) -> Self:
        return self.filter(deleted_at__isnull=True)

    def of(self, user: User) -> Self:
        """Return the matches in which ``user`` is the user or the matched user."""
        return self.filter(Q(user=user) | Q(matched_user=user))

    def in_week(self, year: int, week_number: int) -> Self:
        """Return the matches of one ISO week of one ISO year."""
        return self.filter(year=year, week_number=week_number)

    def open(self) -> Self:
        """Return the matches that wait for an answer and have not expired."""
        return self.alive().filter(status=Match.Status.PENDING, expires_at__gt=TransactionNow())


class Match(TimestampedModel):
    """Two users, matched in one ISO week of one ISO year. ``match_score`` is from 0 to 1."""

    after_restore: ClassVar[str] = KEPT

    constraint_fields = {
        "matches_user_id_matched_user_id_week_number_year_key": "matched_user",
        "matches_pair_week_number_year_key": "matched_user",
        "matches_check": "matched_user",
        "matches_users_check": "matched_user",
        "matches_week_number_check": "week_number",
    }
    trigger_rules = {"matches_users_check": "The two users of a match cannot be changed."}

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        ACCEPTED = "accepted", "Accepted"
        REJECTED = "rejected", "Rejected"
        COMPLETED = "completed", "Completed"
        EXPIRED = "expired", "Expired"

    class Action(models.TextChoices):
        ACCEPTED = "accepted", "Accepted"
        REJECTED = "rejected", "Rejected"

    user: models.ForeignKey[User, User] = foreign_key(settings.AUTH_USER_MODEL, related_name="matches")
    matched_user: models.ForeignKey[User, User] = foreign_key(settings.AUTH_USER_MODEL, related_name="matches_received")
    week_number = models.IntegerField("ISO week")
    year = models.IntegerField("ISO year")
    status = models.CharField(max_length=50, choices=Status, default=Status.PENDING, db_default="pending")
    match_score = models.FloatField()
    user_action = models.CharField(max_length=50, choices=Action, null=True, blank=True)  # noqa: DJ001  # the guide's column
    matched_user_action = models.CharField(max_length=50, choices=Action, null=True, blank=True)  # noqa: DJ001  # the guide's column
    expires_at = models.DateTimeField()

    objects = MatchQuerySet.as_manager()

    class Meta:
        db_table = "matches"
        verbose_name_plural = "matches"
        constraints = [
            models.UniqueConstraint(
                fields=["user", "matched_user", "week_number", "year"],
                name="matches_user_id_matched_user_id_week_number_year_key",
                violation_error_message="These two users already have a match in this week.",
            ),
            # The sorted pair is the same if the user and the matched user change places.
            models.UniqueConstraint(
                Least("user", "matched_user"),
                Greatest("user", "matched_user"),
                "week_number",
                "year",
                condition=Q(deleted_at__isnull=True),
                name="matches_pair_week_number_year_key",
                violation_error_message="These two users already have a match in this week.",
            ),
            models.CheckConstraint(
                condition=~Q(user=F("matched_user")),
                name="matches_check",
                violation_error_message="A user cannot be matched with themselves.",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["pending", "accepted", "rejected", "completed", "expired"]),
                name="matches_status_check",
                violation_error_message="Unknown match status: choose one of the listed values.",
            ),
            models.CheckConstraint(
                condition=Q(match_score__gte=0, match_score__lte=1),
                name="matches_match_score_check",
                violation_error_message="A match score is a number from 0 to 1.",
            ),
            models.CheckConstraint(
                condition=Q(user_action__in=["accepted", "rejected"]),
                name="matches_user_action_check",
                violation_error_message="An action must be accepted, rejected or empty.",
            ),
            models.CheckConstraint(
                condition=Q(matched_user_action__in=["accepted", "rejected"]),
                name="matches_matched_user_action_check",
                violation_error_message="An action must be accepted, rejected or empty.",
            ),
            models.CheckConstraint(
                condition=Q(year__gte=1, year__lte=9999, week_number__gte=1, week_number__lte=IsoWeeksInYear(F("year"))),
                name="matches_week_number_check",
                violation_error_message="This ISO year does not have this week.",
            ),
            *supported_dates("matches", "expires_at", "created_at", "updated_at", "deleted_at"),
            ForeignKeyConstraint(columns=["user_id"], to_table="users", on_delete="CASCADE", name="matches_user_id_fkey"),
            ForeignKeyConstraint(columns=["matched_user_id"], to_table="users", on_delete="CASCADE", name="matches_matched_user_id_fkey"),
        ]
        indexes = [
            models.Index(fields=["user", "week_number", "year"], name="idx_matches_user_week", condition=Q(deleted_at__isnull=True)),
            models.Index(fields=["status"], name="idx_matches_status", condition=Q(deleted_at__isnull=True)),
            models.Index(fields=["expires_at"], name="idx_matches_expires_at", condition=Q(status="pending")),
            models.Index(fields=["-match_score"], name="idx_matches_score"),
            # For the cascade from users. The guide's unique constraint serves the cascade of user_id.
            models.Index(fields=["matched_user"], name="idx_matches_matched_user_id"),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def user_ids(self) -> frozenset[UUID]:
        return frozenset({self.user_id, self.matched_user_id})

    def clean(self) -> None:
        """Raise ValidationError if the stored match has other users."""
        if self._state.adding or None in self.user_ids:
            return
        stored = Match.objects.filter(pk=self.pk).values_list("user_id", "matched_user_id").first()
        if stored is not None and self.user_ids != set(stored):
            raise ValidationError({"matched_user": self.trigger_rules["matches_users_check"]})
