"""Holds: data that an erasure must leave for a time (GDPR, article 17 (3))."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Q

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp, EarliestToday
from findme.core.db.restored import KEPT
from privacy.models.request_choices import Ground


class Section(models.TextChoices):
    """What can be held: sections of owners whose rows can hang on an anonymized row of ``users``."""

    MATCHES = "matches", "Matches"
    CALLS = "calls", "Calls"
    VIDEOS = "videos", "Videos"


class Article(models.TextChoices):
    """The ground of a hold."""

    FREE_EXPRESSION = Ground.FREE_EXPRESSION.value, Ground.FREE_EXPRESSION.label
    LEGAL_OBLIGATION = Ground.LEGAL_OBLIGATION.value, Ground.LEGAL_OBLIGATION.label
    PUBLIC_HEALTH = Ground.PUBLIC_HEALTH.value, Ground.PUBLIC_HEALTH.label
    ARCHIVING = Ground.ARCHIVING.value, Ground.ARCHIVING.label
    LEGAL_CLAIMS = Ground.LEGAL_CLAIMS.value, Ground.LEGAL_CLAIMS.label


class HoldQuerySet(models.QuerySet["Hold"]):
    def active(self) -> Self:
        """Return the holds that are neither released nor ended. The day ``until`` ends when it is over in every time zone."""
        return self.filter(Q(until=None) | Q(until__gte=EarliestToday()), released_at=None)


class Hold(models.Model):
    """A hold on one section of a user's data, until the end of a day or until it is released.

    Triggers refuse to delete the row of the user and the held rows, also by cascade and TRUNCATE. There is no foreign key to users: the hold
    outlives the user as a proof, and only its release can be written. There is no free text.
    """

    not_copied: ClassVar[str] = "it proves what was done in one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = KEPT

    id = models.BigAutoField(primary_key=True)
    set_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    set_by_id = models.UUIDField(null=True, editable=False, help_text="The staff member")
    set_by_account = models.CharField(
        max_length=64, default="", db_default="", editable=False, help_text="The operating system account that ran the command"
    )
    user_id = models.UUIDField("user", help_text="The UUID of the user")
    section = models.CharField(max_length=20, choices=Section.choices)
    article = models.CharField(max_length=20, choices=Article.choices)
    until = models.DateField(null=True, blank=True, help_text="The last day of the hold. Empty: until it is released")
    released_at = models.DateTimeField(null=True, editable=False)
    released_by_id = models.UUIDField(null=True, editable=False)
    released_by_account = models.CharField(max_length=64, default="", db_default="", editable=False)

    objects = HoldQuerySet.as_manager()

    class Meta:
        db_table = "holds"
        default_permissions = ("view",)
        permissions = [("handle_holds", "Can set and release holds")]
        indexes = [models.Index(fields=["user_id"], name="holds_user_id_idx")]
        constraints = [
            models.CheckConstraint(condition=Q(section__in=Section.values), name="holds_section_check"),
            models.CheckConstraint(condition=Q(article__in=Article.values), name="holds_article_check"),
            models.CheckConstraint(
                condition=Q(set_by_id__isnull=True, set_by_account__gt="") | Q(set_by_id__isnull=False, set_by_account=""),
                name="holds_set_by_check",
            ),
            models.CheckConstraint(
                condition=Q(released_at__isnull=True, released_by_id__isnull=True, released_by_account="")
                | Q(released_at__isnull=False, released_by_id__isnull=True, released_by_account__gt="")
                | Q(released_at__isnull=False, released_by_id__isnull=False, released_by_account=""),
                name="holds_released_by_check",
            ),
            *supported_dates("holds", "set_at", "until", "released_at"),
        ]

    def __str__(self) -> str:
        """Return the id. Django's admin log keeps ``str(obj)`` forever."""
        return str(self.pk)


def held_rows(section: str, users: tuple[str, ...]) -> Q:
    """Return the condition for the rows of a section that a hold keeps. ``users`` are the fields that refer to users: each of them can be held."""
    held: Any = Hold.objects.active().filter(section=section).values("user_id")
    condition = Q()
    for field in users:
        condition |= Q(**{f"{field}__in": held})
    return condition
