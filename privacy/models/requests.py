"""Requests of data subjects, and the recipients that must be informed after one."""

from __future__ import annotations

import uuid
from datetime import date
from typing import ClassVar

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import F, Q

from findme.core.db.constraints import ForeignKeyConstraint, foreign_key
from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp
from findme.core.db.restored import KEPT
from privacy.models.request_choices import (
    ABSOLUTE,
    CLOSED,
    GROUNDS,
    STOPPING,
    WITHOUT_IDENTITY,
    ExtensionReason,
    Ground,
    Kind,
    Method,
    NotInformedReason,
    Processing,
    State,
    WithdrawalReason,
)

MAX_CONTACT_LENGTH = 500


def _values(choices: type[models.TextChoices], *, empty: bool = False) -> list[str]:
    return [*([""] if empty else []), *choices.values]


def _one_actor(prefix: str) -> Q:
    """Return the condition that either the staff member or the account of a command is set."""
    by, account = f"{prefix}_by_id", f"{prefix}_by_account"
    return Q(**{f"{by}__isnull": True, f"{account}__gt": ""}) | Q(**{f"{by}__isnull": False, account: ""})


def _no_actor(prefix: str) -> Q:
    return Q(**{f"{prefix}_by_id__isnull": True, f"{prefix}_by_account": ""})


def _grounds_of_kinds() -> Q:
    condition = Q(refusal_ground="")
    for kind, grounds in GROUNDS.items():
        condition |= Q(kind=kind.value, refusal_ground__in=[ground.value for ground in grounds])
    return condition


class DataSubjectRequest(models.Model):
    """One request of a data subject (GDPR, articles 15 to 21 and 7 (3)).

    There is no foreign key to users: the request outlives the user, and a data subject need not be a user. Every text column except ``contact``
    holds a value of a closed list. ``privacy.requests.lifecycle`` has the allowed steps, and a trigger enforces them.
    """

    not_copied: ClassVar[str] = "it proves what was asked and done in one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = KEPT

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    recorded_at = models.DateTimeField(db_default=ClockTimestamp(), editable=False)
    recorded_by_id = models.UUIDField(null=True, help_text="The staff member")
    recorded_by_account = models.CharField(
        max_length=64, default="", db_default="", help_text="The operating system account that ran the command"
    )
    kind = models.CharField(max_length=20, choices=Kind.choices)
    state = models.CharField(max_length=20, choices=State.choices, default="received", db_default="received")
    user_id = models.UUIDField(null=True, help_text="The user, if the data subject is one")
    contact = models.CharField(  # noqa: DJ001  # NULL: there is none, or it was deleted
        max_length=MAX_CONTACT_LENGTH, null=True, help_text="The address for the answer"
    )
    processing = models.CharField(max_length=20, choices=Processing.choices, default="", db_default="")
    received_on = models.DateField()
    first_due_on = models.DateField(help_text="The last day for a refusal, which no extension moves")
    due_on = models.DateField(help_text="The last day for the answer")
    identity_asked_on = models.DateField(null=True)
    identity_confirmed_on = models.DateField(null=True)
    identity_method = models.CharField(max_length=20, choices=Method.choices, default="", db_default="")
    identity_confirmed_by_id = models.UUIDField(null=True)
    identity_confirmed_by_account = models.CharField(max_length=64, default="", db_default="")
    extension_informed_on = models.DateField(null=True, help_text="When the data subject was informed of the extension")
    extension_reason = models.CharField(max_length=20, choices=ExtensionReason.choices, default="", db_default="")
    approved_at = models.DateTimeField(null=True)
    approved_by_id = models.UUIDField(null=True)
    approved_by_account = models.CharField(max_length=64, default="", db_default="")
    stopped_on = models.DateField(null=True, help_text="When the processing was stopped")
    refusal_ground = models.CharField(max_length=20, choices=Ground.choices, default="", db_default="")
    informed_of_remedies = models.BooleanField(
        default=False, db_default=False, help_text="Informed of the right to complain and of the judicial remedy"
    )
    withdrawal_reason = models.CharField(max_length=20, choices=WithdrawalReason.choices, default="", db_default="")
    closed_on = models.DateField(null=True, help_text="When the data subject was answered, informed of the refusal, or withdrew")

    class Meta:
        db_table = "data_subject_requests"
        default_permissions = ("view",)
        permissions = [
            ("handle_requests", "Can handle requests"),
            ("decide_requests", "Can decide requests"),
        ]
        indexes = [
            # Open requests first, by their deadline, and then the closed ones, the last one first.
            models.Index(fields=["-closed_on", "due_on"], name="data_subject_requests_list_idx"),
            models.Index(fields=["user_id"], name="data_subject_requests_user_idx"),
            models.Index(fields=["closed_on"], name="data_subject_requests_contact", condition=Q(contact__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=_values(Kind)), name="data_subject_requests_kind_check"),
            models.CheckConstraint(condition=Q(state__in=_values(State)), name="data_subject_requests_state_check"),
            models.CheckConstraint(condition=_one_actor("recorded"), name="data_subject_requests_recorded_by_check"),
            models.CheckConstraint(
                condition=~Q(contact__regex=r"[[:cntrl:]]") & ~Q(contact=""), name="data_subject_requests_contact_check"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=list(STOPPING), processing__in=_values(Processing))
                | (~Q(kind__in=list(STOPPING)) & Q(processing="", stopped_on__isnull=True)),
                name="data_subject_requests_processing_check",
            ),
            models.CheckConstraint(
                condition=Q(identity_confirmed_on__isnull=True, identity_method="") & _no_actor("identity_confirmed")
                | Q(identity_confirmed_on__isnull=False, identity_method__in=_values(Method)) & _one_actor("identity_confirmed"),
                name="data_subject_requests_identity_check",
            ),
            models.CheckConstraint(
                condition=Q(extension_informed_on__isnull=True, extension_reason="")
                | (
                    Q(extension_informed_on__isnull=False, extension_reason__in=_values(ExtensionReason)) & ~Q(kind=Kind.CONSENT_WITHDRAWAL)
                ),
                name="data_subject_requests_extension_check",
            ),
            models.CheckConstraint(
                condition=Q(approved_at__isnull=True) & _no_actor("approved") | Q(approved_at__isnull=False) & _one_actor("approved"),
                name="data_subject_requests_approval_check",
            ),
            models.CheckConstraint(
                # NULL passes, so a command and a staff member count as two.
                condition=~Q(approved_by_id=F("recorded_by_id"))
                & ~Q(approved_by_id=F("user_id"))
                & (Q(approved_by_account="") | ~Q(approved_by_account=F("recorded_by_account"))),
                name="data_subject_requests_approver_check",
            ),
            models.CheckConstraint(
                condition=Q(
                    state=State.RECEIVED, identity_asked_on__isnull=True, identity_confirmed_on__isnull=True, approved_at__isnull=True
                )
                | Q(
                    state=State.IDENTITY_ASKED,
                    identity_asked_on__isnull=False,
                    identity_confirmed_on__isnull=True,
                    approved_at__isnull=True,
                )
                | Q(state=State.IDENTIFIED, identity_confirmed_on__isnull=False, approved_at__isnull=True)
                | Q(state__in=[State.APPROVED, State.ANSWERED], identity_confirmed_on__isnull=False, approved_at__isnull=False)
                | Q(state__in=[State.REFUSED, State.WITHDRAWN]),
                name="data_subject_requests_state_columns_check",
            ),
            models.CheckConstraint(
                condition=Q(state__in=list(CLOSED), closed_on__isnull=False) | (~Q(state__in=list(CLOSED)) & Q(closed_on__isnull=True)),
                name="data_subject_requests_closed_on_check",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.ANSWERED) | ~Q(kind__in=list(STOPPING)) | Q(stopped_on__isnull=False),
                name="data_subject_requests_stopped_on_check",
            ),
            models.CheckConstraint(
                condition=Q(state=State.REFUSED, refusal_ground__gt="", informed_of_remedies=True)
                | (~Q(state=State.REFUSED) & Q(refusal_ground="", informed_of_remedies=False)),
                name="data_subject_requests_refusal_check",
            ),
            models.CheckConstraint(
                condition=_grounds_of_kinds() & ~Q(processing=Processing.MARKETING, refusal_ground__in=sorted(ABSOLUTE)),
                name="data_subject_requests_ground_check",
            ),
            models.CheckConstraint(
                # A refusal by another ground would tell an unknown sender something about the data.
                condition=Q(refusal_ground__in=["", Ground.UNFOUNDED, Ground.EXCESSIVE])
                | Q(refusal_ground=Ground.NOT_IDENTIFIED, identity_asked_on__isnull=False, identity_confirmed_on__isnull=True)
                | (~Q(refusal_ground__in=sorted(WITHOUT_IDENTITY)) & Q(identity_confirmed_on__isnull=False)),
                name="data_subject_requests_ground_identity_check",
            ),
            models.CheckConstraint(
                condition=Q(state=State.WITHDRAWN, withdrawal_reason__in=_values(WithdrawalReason))
                | (~Q(state=State.WITHDRAWN) & Q(withdrawal_reason="")),
                name="data_subject_requests_withdrawal_check",
            ),
            models.CheckConstraint(
                # NULL passes.
                condition=Q(identity_asked_on__gte=F("received_on"))
                & Q(identity_confirmed_on__gte=F("received_on"))
                & Q(identity_confirmed_on__gte=F("identity_asked_on"))
                & Q(extension_informed_on__gte=F("received_on"))
                & Q(stopped_on__gte=F("received_on"))
                & Q(closed_on__gte=F("received_on"))
                & Q(closed_on__gte=F("stopped_on")),
                name="data_subject_requests_order_check",
            ),
            *supported_dates(
                "data_subject_requests",
                *("recorded_at", "received_on", "first_due_on", "due_on", "identity_asked_on", "identity_confirmed_on"),
                *("extension_informed_on", "approved_at", "stopped_on", "closed_on"),
            ),
        ]

    def __str__(self) -> str:
        """Return the id. Django's admin log keeps ``str(obj)`` forever."""
        return str(self.pk)

    @property
    def is_open(self) -> bool:
        return self.state not in CLOSED

    @property
    def is_paused(self) -> bool:
        """Return whether the deadline does not run, because the data subject must prove their identity (article 12 (6))."""
        return self.state == State.IDENTITY_ASKED

    @property
    def paused_days(self) -> int:
        """Return how many days the deadline did not run."""
        if self.identity_asked_on is None or self.identity_confirmed_on is None:
            return 0
        return (self.identity_confirmed_on - self.identity_asked_on).days

    def is_late(self, today: date) -> bool:
        """Return whether the request is open after its deadline, or was closed after it.

        A refusal has one month even after an extension (article 12 (4)). The month did not run on after the question for an identity that was never
        confirmed.
        """
        if self.state == State.WITHDRAWN or self.is_paused:
            return False
        if self.state != State.REFUSED:
            return (self.closed_on or today) > self.due_on
        paused_on = self.identity_asked_on if self.identity_confirmed_on is None else None
        return (paused_on or self.closed_on or today) > self.first_due_on


class RequestRecipient(models.Model):
    """One recipient of the data that must be informed of a rectification, erasure or restriction (GDPR, article 19).

    ``recipient`` is a name of the setting ``REQUEST_RECIPIENTS``.
    """

    not_copied: ClassVar[str] = "it proves what was asked and done in one database"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = KEPT

    id = models.BigAutoField(primary_key=True)
    request = foreign_key("privacy.DataSubjectRequest", related_name="recipients")
    recipient = models.CharField(max_length=40)
    informed_on = models.DateField(null=True)
    not_informed_reason = models.CharField(max_length=20, choices=NotInformedReason.choices, default="", db_default="")

    class Meta:
        db_table = "request_recipients"
        default_permissions = ()
        constraints = [
            ForeignKeyConstraint(
                columns=["request_id"], to_table="data_subject_requests", on_delete="CASCADE", name="request_recipients_request_id_fkey"
            ),
            models.UniqueConstraint(fields=["request", "recipient"], name="request_recipients_key"),
            models.CheckConstraint(condition=Q(recipient__regex=r"^[a-z][a-z0-9_-]*$"), name="request_recipients_recipient_check"),
            models.CheckConstraint(
                condition=Q(not_informed_reason="") | Q(not_informed_reason__in=_values(NotInformedReason), informed_on__isnull=True),
                name="request_recipients_reason_check",
            ),
            *supported_dates("request_recipients", "informed_on"),
        ]

    def __str__(self) -> str:
        return f"{self.recipient} for {self.request_id}"

    @property
    def is_settled(self) -> bool:
        return self.informed_on is not None or self.not_informed_reason != ""
