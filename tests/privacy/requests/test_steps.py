"""The steps of a request: what each writes, its entry in the audit log, and one line for each refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.actions.restriction import stop_matching
from privacy.audit import operating_system_account
from privacy.local_dates import today
from privacy.models import AuditEntry, DataSubjectRequest, RequestRecipient
from privacy.models.request_choices import ExtensionReason, Ground, Kind, Method, NotInformedReason, Processing, State, WithdrawalReason
from privacy.requests import steps
from privacy.requests.deadlines import due_date
from privacy.requests.lifecycle import is_allowed
from privacy.requests.summary import late
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.privacy.shelf import Shelf, install_shelf
from vectorstore.models import ProfileEmbedding

pytestmark = pytest.mark.django_db

ACCOUNT = operating_system_account()
RECORDER, APPROVER = UUID(int=1), UUID(int=2)
AGO = timedelta(days=10)


def recorded(kind: Kind = Kind.ACCESS, **options: Any) -> DataSubjectRequest:
    defaults: dict[str, Any] = {"contact": "ann@example.com", "received_on": today() - AGO, "actor_id": RECORDER}
    return steps.record(kind, **defaults | options)


def identified(kind: Kind = Kind.ACCESS, **options: Any) -> DataSubjectRequest:
    return steps.confirm_identity(recorded(kind, **options).pk, Method.LOGIN, actor_id=RECORDER)


def approved(kind: Kind = Kind.ACCESS, **options: Any) -> DataSubjectRequest:
    return steps.approve(identified(kind, **options).pk, actor_id=APPROVER)


def entries(request: DataSubjectRequest) -> list[tuple[str, UUID | str, UUID | None, str]]:
    found = AuditEntry.objects.filter(request_id=request.pk).order_by("pk")
    return [(entry.action, entry.actor_id or entry.actor_account, entry.target_id, entry.outcome) for entry in found]


def refusal_of(step: Callable[[], Any]) -> str:
    """Return the error of the step, which changes no row."""
    before = list(DataSubjectRequest.objects.order_by("pk").values()), list(RequestRecipient.objects.values())
    with pytest.raises(UserFacingError) as raised:
        step()
    assert (list(DataSubjectRequest.objects.order_by("pk").values()), list(RequestRecipient.objects.values())) == before
    assert "nothing was" in str(raised.value) and "\n" not in str(raised.value) and "ann@example.com" not in str(raised.value)
    return str(raised.value)


def test_record__of_a_command() -> None:
    request = steps.record(Kind.ACCESS, contact=" Ann  Example, Lindenstraße 1 ", received_on=today() - AGO)
    assert (request.contact, request.state, request.user_id) == ("Ann Example, Lindenstraße 1", "received", None)
    assert (request.recorded_by_account, request.recorded_by_id) == (ACCOUNT, None)
    assert request.due_on == due_date(today() - AGO)
    assert entries(request) == [("request_record", ACCOUNT, None, "done")]


def test_record__today_by_default() -> None:
    assert steps.record(Kind.ACCESS, contact="ann@example.com").received_on in (today(), today() - timedelta(days=1))


def test_record__of_a_user__stores_the_address_only_for_an_erasure() -> None:
    person = UserFactory.create()
    assert recorded(Kind.ACCESS, user_id=person.pk, contact=None).contact is None
    request = recorded(Kind.ERASURE, user_id=person.pk, contact=None)
    assert request.contact == person.email
    assert entries(request) == [("request_record", RECORDER, person.pk, "done")]
    assert recorded(Kind.ERASURE, user_id=person.pk, contact="other@example.com").contact == "other@example.com"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"contact": None}, "There is no address for the answer"),
        ({"contact": " \n "}, "The contact address is empty"),
        ({"contact": "a\0b"}, "The contact address is empty, has characters that cannot be printed"),
        ({"contact": "\ud800"}, "The contact address is empty, has characters that cannot be printed"),
        ({"contact": "x" * 501}, "or has more than 500"),
        ({"user_id": UUID(int=9)}, "FindMe has and had no user with the id '00000000-0000-0000-0000-000000000009'"),
        ({"processing": Processing.MARKETING}, "A request of the kind 'access' has no --processing"),
        ({"kind": Kind.OBJECTION}, "A request of the kind 'objection' needs --processing"),
        ({"received_on": date(2999, 1, 1)}, "2999-01-01 is in the future"),
        ({"received_on": date.min}, "0001-01-01 is before 0001-01-02, the first possible day: nothing was changed. Correct the date."),
    ],
)
def test_record__refuses(options: dict[str, Any], reason: str) -> None:
    assert reason in refusal_of(lambda: recorded(**options))
    assert not DataSubjectRequest.objects.exists()


def test_record__of_an_anonymized_user_needs_an_address() -> None:
    person = UserFactory.create(anonymized=True)
    assert "Add --contact ADDRESS" in refusal_of(lambda: recorded(Kind.ERASURE, user_id=person.pk, contact=None))


def test_confirm_identity__pauses_the_deadline(settings: Settings) -> None:
    settings.REQUEST_HOLIDAYS = []
    request = recorded(received_on=today() - timedelta(days=20))
    asked = steps.ask_identity(request.pk, asked_on=today() - timedelta(days=19), actor_id=RECORDER)
    assert asked.is_paused and asked.due_on == request.due_on
    confirmed = steps.confirm_identity(request.pk, Method.LETTER_CODE, actor_id=APPROVER)
    assert (confirmed.paused_days, confirmed.due_on) == (19, due_date(request.received_on, paused_days=19))
    assert (confirmed.identity_method, confirmed.identity_confirmed_by_id) == ("letter_code", APPROVER)
    assert [entry[:2] for entry in entries(request)] == [
        ("request_record", RECORDER),
        ("request_ask", RECORDER),
        ("request_identify", APPROVER),
    ]


def test_confirm_identity__names_the_user() -> None:
    person, other = UserFactory.create_batch(2)
    request = recorded()
    assert steps.confirm_identity(request.pk, Method.CALL_BACK, user_id=person.pk).user_id == person.pk
    assert entries(request)[-1] == ("request_identify", ACCOUNT, person.pk, "done")
    second = recorded(user_id=person.pk)
    assert f"is of the user {person.pk}, not of {other.pk}" in refusal_of(
        lambda: steps.confirm_identity(second.pk, Method.CALL_BACK, user_id=other.pk)
    )


def test_ask_identity__cannot_pause_a_deadline_that_is_over() -> None:
    request = recorded(received_on=today() - timedelta(days=60))
    reason = refusal_of(lambda: steps.ask_identity(request.pk))
    assert f"was due on {request.due_on}" in reason and "A deadline that is over cannot be paused." in reason
    assert entries(request)[-1][3] == "failed"


def test_extend__three_months_from_the_receipt() -> None:
    request = recorded()
    extended = steps.extend(request.pk, ExtensionReason.COMPLEXITY, actor_id=RECORDER)
    assert extended.due_on == due_date(request.received_on, is_extended=True)
    assert "is already extended until" in refusal_of(lambda: steps.extend(request.pk, ExtensionReason.NUMBER))
    confirmed = steps.confirm_identity(request.pk, Method.LOGIN)
    assert confirmed.due_on == extended.due_on


def test_extend__after_the_first_deadline() -> None:
    request = recorded(received_on=today() - timedelta(days=60))
    assert "A deadline that is over cannot be extended." in refusal_of(lambda: steps.extend(request.pk, ExtensionReason.NUMBER))
    in_time = steps.extend(request.pk, ExtensionReason.NUMBER, informed_on=request.due_on)  # noted later
    assert in_time.extension_informed_on == request.due_on


def test_refuse__after_an_extension_still_has_one_month() -> None:
    """Article 12 (4) names no extension. The late refusal is found by Python and by SQL."""
    received_on = today() - timedelta(days=60)
    requests = [recorded(received_on=received_on) for _ in range(2)]
    for request in requests:
        steps.extend(request.pk, ExtensionReason.NUMBER, informed_on=request.due_on)
        steps.confirm_identity(request.pk, Method.LOGIN, confirmed_on=received_on)
    assert not DataSubjectRequest.objects.filter(late(today())).exists()
    refused = steps.refuse(requests[0].pk, Ground.OTHERS_RIGHTS, informed_of_remedies=True)
    steps.approve(requests[1].pk, actor_id=APPROVER)
    answered = steps.answer(requests[1].pk)
    assert refused.is_late(today()) and not answered.is_late(today())
    assert [one.pk for one in DataSubjectRequest.objects.filter(late(today()))] == [refused.pk]
    assert refused.first_due_on == due_date(received_on) < answered.due_on


def test_refuse__identity_never_confirmed__the_month_did_not_run_on() -> None:
    """The reminder names such a request 30 days after the question, and a refusal then must not count as late."""
    received_on = today() - timedelta(days=90)
    first, second = (recorded(received_on=received_on) for _ in range(2))
    steps.ask_identity(first.pk, asked_on=first.due_on)
    steps.extend(second.pk, ExtensionReason.NUMBER, informed_on=second.due_on)
    steps.ask_identity(second.pk, asked_on=second.due_on + timedelta(days=1))
    in_time, late_one = (steps.refuse(one.pk, Ground.NOT_IDENTIFIED, informed_of_remedies=True) for one in (first, second))
    assert not in_time.is_late(today()) and late_one.is_late(today())
    assert [one.pk for one in DataSubjectRequest.objects.filter(late(today()))] == [late_one.pk]


def test_extend__not_for_a_withdrawal_of_consent() -> None:
    request = recorded(Kind.CONSENT_WITHDRAWAL, processing=Processing.EMBEDDING)
    assert "which has no extension" in refusal_of(lambda: steps.extend(request.pk, ExtensionReason.NUMBER))


def test_approve__by_another_account_only() -> None:
    person = UserFactory.create(staff=True)
    request = identified(user_id=person.pk)
    assert "was recorded by the same account" in refusal_of(lambda: steps.approve(request.pk, actor_id=RECORDER))
    assert "is your own" in refusal_of(lambda: steps.approve(request.pk, actor_id=person.pk))
    approved = steps.approve(request.pk, actor_id=APPROVER)
    assert (approved.approved_by_id, approved.state) == (APPROVER, "approved")
    assert [entry[:2] + entry[3:] for entry in entries(request)[2:]] == [
        ("request_approve", RECORDER, "failed"),
        ("request_approve", person.pk, "failed"),
        ("request_approve", APPROVER, "done"),
    ]


def test_approve__by_another_operating_system_account(monkeypatch: pytest.MonkeyPatch) -> None:
    request = steps.confirm_identity(steps.record(Kind.ACCESS, contact="ann@example.com").pk, Method.LOGIN)
    assert "was recorded by the same account" in refusal_of(lambda: steps.approve(request.pk))
    for module in ("privacy.audit", "privacy.requests.conditions"):
        monkeypatch.setattr(f"{module}.operating_system_account", lambda: "bob")
    assert steps.approve(request.pk).approved_by_account == "bob"


def test_refuse__needs_the_information_of_the_data_subject() -> None:
    request = identified()
    assert "--informed-of-remedies" in refusal_of(lambda: steps.refuse(request.pk, Ground.OTHERS_RIGHTS, informed_of_remedies=False))
    refused = steps.refuse(request.pk, Ground.OTHERS_RIGHTS, informed_of_remedies=True, actor_id=APPROVER)
    assert (refused.state, refused.closed_on, refused.refusal_ground) == ("refused", today(), "15_4")
    assert entries(request)[-1] == ("request_refuse", APPROVER, None, "done")


def test_refuse__grounds() -> None:
    request = recorded()
    for ground, reason in (
        (Ground.LEGAL_CLAIMS, "A request of the kind 'access' cannot be refused on the ground '17_3_e'"),
        (Ground.NOT_IDENTIFIED, "does not wait for proof of identity"),
        (Ground.OTHERS_RIGHTS, "their identity is not confirmed"),
    ):
        assert reason in refusal_of(lambda one=ground: steps.refuse(request.pk, one, informed_of_remedies=True))  # type: ignore[misc]
    steps.ask_identity(request.pk)
    assert steps.refuse(request.pk, Ground.NOT_IDENTIFIED, informed_of_remedies=True).state == State.REFUSED


def test_answer__of_an_objection_after_the_processing_was_stopped(shelf: Shelf) -> None:
    person = UserFactory.create()
    request = approved(Kind.OBJECTION, processing=Processing.MATCHING, user_id=person.pk)
    stop_matching(person.pk)
    assert "was not stopped by" in refusal_of(lambda: steps.answer(request.pk))
    assert steps.stop(request.pk).stopped_on == today()
    assert "has stopped the processing already" in refusal_of(lambda: steps.stop(request.pk))
    assert "was not stopped by" in refusal_of(lambda: steps.answer(request.pk, answered_on=today() - timedelta(days=1)))
    assert steps.answer(request.pk).state == State.ANSWERED
    access = approved()
    assert "is no approved objection or withdrawal of consent" in refusal_of(lambda: steps.stop(access.pk))


def test_stop__of_the_matching__only_after_it_was_stopped(shelf: Shelf) -> None:
    person = UserFactory.create()
    request = approved(Kind.OBJECTION, processing=Processing.MATCHING, user_id=person.pk)
    assert refusal_of(lambda: steps.stop(request.pk)).endswith(f"nothing was changed. Run manage.py stop_matching {person.pk}")
    assert entries(request)[-1][0::3] == ("request_stop", "failed")
    User.objects.filter(pk=person.pk).update(objected_at=timezone.now())
    shelf.ids.add(person.pk)
    assert f"The shelf still has the user of request {request.pk}" in refusal_of(lambda: steps.stop(request.pk))
    shelf.reachable = False
    assert refusal_of_store(lambda: steps.stop(request.pk)) == "The shelf is too high. Fetch a ladder."
    shelf.reachable = True
    stop_matching(person.pk)
    assert steps.stop(request.pk).stopped_on == today()


def test_stop__of_the_embedding__only_without_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    install_shelf(monkeypatch)
    person = ProfileEmbeddingFactory.create().user
    request = approved(Kind.CONSENT_WITHDRAWAL, processing=Processing.EMBEDDING, user_id=person.pk)
    User.objects.filter(pk=person.pk).update(objected_at=timezone.now())
    assert refusal_of(lambda: steps.stop(request.pk)).endswith(f"Run manage.py stop_matching {person.pk} --delete-embedding")
    ProfileEmbedding.objects.all().delete()
    assert steps.stop(request.pk).stopped_on == today()


def test_stop__of_a_processing_that_findme_cannot_see__needs_no_store(shelf: Shelf) -> None:
    shelf.reachable = False
    request = approved(Kind.OBJECTION, processing=Processing.MARKETING, user_id=UserFactory.create().pk)
    assert steps.stop(request.pk).stopped_on == today()
    no_user = approved(Kind.OBJECTION, processing=Processing.MATCHING)
    assert steps.stop(no_user.pk).stopped_on == today()


def refusal_of_store(step: Callable[[], Any]) -> str:
    with pytest.raises(StoreUnavailable) as raised:
        step()
    return str(raised.value)


def test_recipients__are_ticked_off(settings: Settings) -> None:
    settings.REQUEST_RECIPIENTS = ["film-storage", "call-service"]
    person = UserFactory.create()
    request = approved(Kind.RECTIFICATION, user_id=person.pk)
    assert sorted(request.recipients.values_list("recipient", "informed_on")) == [("call-service", None), ("film-storage", None)]
    steps.inform_recipient(request.pk, "film-storage", actor_id=APPROVER)
    steps.inform_recipient(request.pk, "call-service", not_informed=NotInformedReason.NOT_DISCLOSED)
    assert sorted(request.recipients.values_list("recipient", "informed_on", "not_informed_reason")) == [
        ("call-service", None, "not_disclosed"),
        ("film-storage", today(), ""),
    ]
    assert "already has the outcome for 'film-storage'" in refusal_of(lambda: steps.inform_recipient(request.pk, "film-storage"))
    assert "'bank' is not a recipient of REQUEST_RECIPIENTS (film-storage, call-service)" in refusal_of(
        lambda: steps.inform_recipient(request.pk, "bank")
    )
    settings.REQUEST_RECIPIENTS = ["film-storage", "call-service", "bank"]
    steps.answer(request.pk)
    steps.inform_recipient(request.pk, "bank")
    assert [entry[0] for entry in entries(request)].count("request_inform") == 4  # one failed
    assert approved(Kind.ACCESS).recipients.count() == 0


def test_closed__never_changes() -> None:
    request = steps.withdraw(recorded().pk, WithdrawalReason.MISTAKE)
    for step in (
        lambda: steps.approve(request.pk),
        lambda: steps.answer(request.pk),
        lambda: steps.extend(request.pk, ExtensionReason.NUMBER),
        lambda: steps.correct_contact(request.pk, "bob@example.com"),
        lambda: steps.stop(request.pk),
    ):
        assert f"is 'withdrawn' since {today()}, and closed requests never change" in refusal_of(step)


def test_set_contact() -> None:
    request = recorded()
    assert steps.correct_contact(request.pk, "bob@example.com").contact == "bob@example.com"
    assert entries(request)[-1][0] == "request_contact"


@pytest.mark.parametrize("day", [today() - timedelta(days=11), date(2999, 1, 1)], ids=["before the receipt", "in the future"])
def test_steps__refuse_an_impossible_date(day: date) -> None:
    request, ready = recorded(), identified()
    assert "nothing was changed" in refusal_of(lambda: steps.ask_identity(request.pk, asked_on=day))
    assert "nothing was changed" in refusal_of(lambda: steps.confirm_identity(request.pk, Method.LOGIN, confirmed_on=day))
    assert "nothing was changed" in refusal_of(lambda: steps.extend(request.pk, ExtensionReason.NUMBER, informed_on=day))
    assert "nothing was changed" in refusal_of(lambda: steps.withdraw(ready.pk, WithdrawalReason.MISTAKE, withdrawn_on=day))


def test_steps__of_an_unknown_request() -> None:
    request_id = uuid4()
    assert refusal_of(lambda: steps.approve(request_id)) == (
        f"There is no request '{request_id}': nothing was changed. Run manage.py privacy_request list"
    )
    assert not AuditEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_step__entry_cannot_be_written__is_rolled_back(caplog: pytest.LogCaptureFixture) -> None:
    request = recorded()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_log ADD CONSTRAINT no_entry CHECK (action <> 'request_ask') NOT VALID")
    try:
        assert "It breaks the rule 'no_entry' of PostgreSQL: nothing was changed." in refusal_of(lambda: steps.ask_identity(request.pk))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE audit_log DROP CONSTRAINT no_entry")
    assert DataSubjectRequest.objects.get(pk=request.pk).state == State.RECEIVED
    assert caplog.messages == [f"The audit log has no entry for this action: request_ask of {request.pk} failed (CheckViolation)."]


def test_step__commit_is_not_confirmed__is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the commit is lost: the audit log says that the outcome is unknown."""
    request = recorded()

    @contextmanager
    def lost(**_options: object) -> Iterator[None]:
        yield
        raise OperationalError("the connection is lost")

    monkeypatch.setattr("privacy.requests.locking.transaction.atomic", lost)
    with pytest.raises(UserFacingError) as raised:
        steps.ask_identity(request.pk)
    monkeypatch.undo()
    assert str(raised.value) == (
        f"PostgreSQL did not confirm the commit (the connection is lost): whether the request {request.pk} was changed is unknown."
        f" Run manage.py privacy_request show {request.pk}"
    )
    assert entries(request)[-1][3] == "unknown"


STEPS: dict[State, Callable[[UUID], Any]] = {
    State.IDENTITY_ASKED: lambda pk: steps.ask_identity(pk, actor_id=RECORDER),
    State.IDENTIFIED: lambda pk: steps.confirm_identity(pk, Method.LOGIN, actor_id=RECORDER),
    State.APPROVED: lambda pk: steps.approve(pk, actor_id=APPROVER),
    State.ANSWERED: lambda pk: steps.answer(pk, actor_id=APPROVER),
    State.REFUSED: lambda pk: steps.refuse(pk, Ground.EXCESSIVE, informed_of_remedies=True, actor_id=APPROVER),
    State.WITHDRAWN: lambda pk: steps.withdraw(pk, WithdrawalReason.BY_PERSON, actor_id=RECORDER),
}


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(list(STEPS)), max_size=8))
def test_walk__each_step_is_done_or_refused_and_audited(states: list[State]) -> None:
    request = recorded()
    state, outcomes = State.RECEIVED, ["done"]
    for step in states:
        try:
            STEPS[step](request.pk)
            was_accepted = True
        except UserFacingError:
            was_accepted = False
        assert was_accepted == is_allowed(state, step)
        state = step if was_accepted else state
        outcomes.append("done" if was_accepted else "failed")
        assert DataSubjectRequest.objects.get(pk=request.pk).state == state
    assert [entry[3] for entry in entries(request)] == outcomes
