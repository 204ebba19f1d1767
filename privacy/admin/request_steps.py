"""The steps of a request in the admin, with their forms and permissions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from privacy.admin.request_forms import (
    AnswerForm,
    ApproveForm,
    AskIdentityForm,
    ConfirmIdentityForm,
    ContactForm,
    ExtendForm,
    RecipientForm,
    RefuseForm,
    StepForm,
    StopForm,
    WithdrawForm,
)
from privacy.models import DataSubjectRequest
from privacy.models.request_choices import (
    STOPPING,
    WITH_RECIPIENTS,
    ExtensionReason,
    Ground,
    Kind,
    Method,
    NotInformedReason,
    State,
    WithdrawalReason,
)
from privacy.requests import steps
from privacy.requests.fulfilment import erase_request, has_open_erasure, is_fulfilled, needs_new_plan
from privacy.requests.lifecycle import is_allowed

HANDLE, DECIDE = "privacy.handle_requests", "privacy.decide_requests"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ``perform`` takes the id of the request, the cleaned form, and the id of the staff member."""

    slug: str
    title: str
    explanation: str
    permission: str
    form: type[StepForm]
    is_possible: Callable[[DataSubjectRequest], bool]
    perform: Callable[[UUID, dict[str, Any], UUID | None], object]
    closes: bool = False
    """Whether the request never changes after the step."""


def _to(state: State) -> Callable[[DataSubjectRequest], bool]:
    return lambda row: is_allowed(row.state, state)


STEPS = {
    step.slug: step
    for step in (
        Step(
            "ask-identity",
            "Ask for the identity",
            "The data subject was asked for proof of their identity. The deadline does not run until the identity is confirmed.",
            HANDLE,
            AskIdentityForm,
            _to(State.IDENTITY_ASKED),
            lambda key, form, actor: steps.ask_identity(key, asked_on=form["on"], actor_id=actor),
        ),
        Step(
            "confirm-identity",
            "Confirm the identity",
            "Note how the identity was confirmed. Never keep a copy of an identity document.",
            HANDLE,
            ConfirmIdentityForm,
            _to(State.IDENTIFIED),
            lambda key, form, actor: steps.confirm_identity(
                key, Method(form["method"]), user_id=form["user_id"], confirmed_on=form["on"], actor_id=actor
            ),
        ),
        Step(
            "extend",
            "Extend the deadline",
            "Adds two months. First inform the data subject of the extension and of its reason.",
            HANDLE,
            ExtendForm,
            lambda row: row.is_open and row.extension_informed_on is None and row.kind != Kind.CONSENT_WITHDRAWAL,
            lambda key, form, actor: steps.extend(key, ExtensionReason(form["reason"]), informed_on=form["on"], actor_id=actor),
        ),
        Step(
            "approve",
            "Approve",
            "The request is granted. An erasure hides the user at once. Neither the member of staff who recorded it nor the data subject may approve it.",
            DECIDE,
            ApproveForm,
            lambda row: is_allowed(row.state, State.APPROVED) or needs_new_plan(row),
            lambda key, _form, actor: steps.approve(key, actor_id=actor),
        ),
        Step(
            "erase",
            "Delete the user for good",
            "Carries out the approved plan now. Otherwise process_requests does it. This cannot be undone.",
            "accounts.erase_user",
            ApproveForm,
            has_open_erasure,
            lambda key, _form, actor: erase_request(key, actor_id=actor),
        ),
        Step(
            "stop",
            "Note the stop",
            "The processing that the request is about was stopped.",
            HANDLE,
            StopForm,
            lambda row: row.kind in STOPPING and row.state == State.APPROVED and row.stopped_on is None,
            lambda key, form, actor: steps.stop(key, stopped_on=form["on"], actor_id=actor),
        ),
        Step(
            "recipient",
            "Tick off a recipient",
            "A recipient of the data was informed, or need not be.",
            HANDLE,
            RecipientForm,
            lambda row: bool(settings.REQUEST_RECIPIENTS) and row.kind in WITH_RECIPIENTS and row.state in (State.APPROVED, State.ANSWERED),
            lambda key, form, actor: steps.inform_recipient(
                key,
                form["recipient"],
                informed_on=form["on"],
                not_informed=NotInformedReason(form["not_informed"]) if form["not_informed"] else None,
                actor_id=actor,
            ),
        ),
        Step(
            "answer",
            "Answer",
            "The data subject received the answer. The request is then closed.",
            HANDLE,
            AnswerForm,
            lambda row: (
                is_allowed(row.state, State.ANSWERED) and (row.kind not in STOPPING or row.stopped_on is not None) and is_fulfilled(row)
            ),
            lambda key, form, actor: steps.answer(key, answered_on=form["on"], actor_id=actor),
            closes=True,
        ),
        Step(
            "refuse",
            "Refuse",
            "The data subject was informed of the refusal. The request is then closed.",
            DECIDE,
            RefuseForm,
            _to(State.REFUSED),
            lambda key, form, actor: steps.refuse(
                key, Ground(form["ground"]), informed_of_remedies=form["informed_of_remedies"], informed_on=form["on"], actor_id=actor
            ),
            closes=True,
        ),
        Step(
            "withdraw",
            "Withdraw",
            "The data subject withdrew the request, or it was recorded wrongly. The request is then closed.",
            HANDLE,
            WithdrawForm,
            _to(State.WITHDRAWN),
            lambda key, form, actor: steps.withdraw(key, WithdrawalReason(form["reason"]), withdrawn_on=form["on"], actor_id=actor),
            closes=True,
        ),
        Step(
            "contact",
            "Correct the contact address",
            "Replaces the address for the answer.",
            HANDLE,
            ContactForm,
            lambda row: row.is_open,
            lambda key, form, actor: steps.correct_contact(key, form["contact"], actor_id=actor),
        ),
    )
}


def links(request: HttpRequest, row: DataSubjectRequest) -> Iterator[dict[str, Any]]:
    """Yield title and URL of each step that is possible now and that the user may run."""
    for step in STEPS.values():
        if request.user.has_perm(step.permission) and step.is_possible(row):
            yield {"title": step.title, "url": step_url(row, step), "is_final": step.closes}


def step_url(row: DataSubjectRequest, step: Step) -> str:
    return reverse("admin:privacy_datasubjectrequest_step", args=[row.pk, step.slug])
