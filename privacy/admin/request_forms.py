"""Forms of the steps of a request."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.db.models import TextChoices
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from privacy.local_dates import today
from privacy.models import DataSubjectRequest
from privacy.models.request_choices import (
    GROUNDS,
    STOPPING,
    ExtensionReason,
    Ground,
    Kind,
    Method,
    NotInformedReason,
    Processing,
    WithdrawalReason,
)
from privacy.models.requests import MAX_CONTACT_LENGTH


class _DayInput(UnfoldAdminTextInputWidget):  # type: ignore[misc]  # unfold has no types
    input_type = "date"


def _day(label: str) -> forms.DateField:
    """Return a field for a day, by default today."""
    return forms.DateField(label=label, widget=_DayInput(), initial=lambda: today().isoformat())


def _choice(label: str, choices: type[TextChoices], *, required: bool = True) -> forms.ChoiceField:
    return forms.ChoiceField(
        label=label, choices=[("", "---------"), *choices.choices], widget=UnfoldAdminSelectWidget(), required=required
    )


def _text(label: str, *, required: bool = True, help_text: str = "") -> forms.CharField:
    return forms.CharField(
        label=label, max_length=MAX_CONTACT_LENGTH, widget=UnfoldAdminTextInputWidget(), required=required, help_text=help_text
    )


def _user() -> forms.UUIDField:
    return forms.UUIDField(
        label="User",
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="The UUID, if the data subject is a user",
    )


class StepForm(forms.Form):
    """Form of a step. ``row`` is the request, or None for a new one."""

    def __init__(self, *args: Any, row: DataSubjectRequest | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.row = row


class RecordForm(StepForm):
    kind = _choice("Right", Kind)
    received_on = _day("Received on")
    user_id = _user()
    contact = _text("Contact address", required=False, help_text="Where the answer is sent. Empty: the account's address for an erasure")
    processing = _choice("Processing", Processing, required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("kind") in STOPPING and not cleaned.get("processing"):
            self.add_error("processing", "An objection and a withdrawal of consent need the processing that they are about.")
        elif "kind" in cleaned and cleaned["kind"] not in STOPPING and cleaned.get("processing"):
            self.add_error("processing", "Only an objection and a withdrawal of consent are about a processing.")
        return cleaned


class AskIdentityForm(StepForm):
    on = _day("Asked on")


class ConfirmIdentityForm(StepForm):
    method = _choice("Method", Method)
    user_id = _user()
    on = _day("Confirmed on")


class ExtendForm(StepForm):
    reason = _choice("Reason", ExtensionReason)
    on = _day("Informed on")


class ApproveForm(StepForm):
    """No field: the button is the confirmation."""


class RefuseForm(StepForm):
    ground = _choice("Ground", Ground)
    on = _day("Informed on")
    informed_of_remedies = forms.BooleanField(
        label="The data subject was informed of the ground, of the right to complain, and of the judicial remedy",
        widget=UnfoldBooleanWidget(),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        assert self.row is not None
        grounds = [(ground.value, ground.label) for ground in GROUNDS[Kind(self.row.kind)]]
        self.fields["ground"].choices = [("", "---------"), *grounds]  # type: ignore[attr-defined]


class StopForm(StepForm):
    on = _day("Stopped on")


class AnswerForm(StepForm):
    on = _day("Answered on")


class WithdrawForm(StepForm):
    reason = _choice("Reason", WithdrawalReason)
    on = _day("Withdrawn on")


class RecipientForm(StepForm):
    recipient = forms.ChoiceField(label="Recipient", widget=UnfoldAdminSelectWidget())
    on = _day("Informed on")
    not_informed = _choice("Or not informed, because", NotInformedReason, required=False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        names = [("", "---------"), *((name, name) for name in settings.REQUEST_RECIPIENTS)]
        self.fields["recipient"].choices = names  # type: ignore[attr-defined]


class ContactForm(StepForm):
    contact = _text("Contact address")
