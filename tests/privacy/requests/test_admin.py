"""Requests in the admin: the list by deadline, the pages of the steps, and their permissions."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from privacy.admin.request_steps import DECIDE, HANDLE, STEPS
from privacy.local_dates import today
from privacy.models import AuditEntry, DataSubjectRequest
from privacy.models.request_choices import State
from privacy.requests.deadlines import due_date
from privacy.requests.fulfilment import erase_request
from tests.factories import UserFactory
from tests.privacy.erasures.rows import insert_erasure
from tests.privacy.requests.rows import request_in
from tests.privacy.shelf import Shelf
from tests.support.staff import change_page, said, signed_in, staff, superuser

pytestmark = pytest.mark.django_db

VIEW = "privacy.view_datasubjectrequest"
LIST = reverse("admin:privacy_datasubjectrequest_changelist")
RECORD = reverse("admin:privacy_datasubjectrequest_record")
SECRET = "ann@example.com"


def officer(**fields: Any) -> User:
    return staff(VIEW, HANDLE, DECIDE, **fields)


def page_of(request_id: UUID) -> str:
    return change_page(DataSubjectRequest.objects.get(pk=request_id))


def step(request_id: UUID, slug: str) -> str:
    return reverse("admin:privacy_datasubjectrequest_step", args=[request_id, slug])


def form(slug: str, **values: str) -> dict[str, str]:
    day = today().isoformat()
    fields: dict[str, dict[str, str]] = {
        "confirm-identity": {"method": "login"},
        "extend": {"reason": "number"},
        "refuse": {"ground": "12_5_excessive", "informed_of_remedies": "on"},
        "withdraw": {"reason": "by_person"},
        "recipient": {"recipient": "film-storage"},
        "contact": {"contact": SECRET},
    }
    return {"on": day, **fields.get(slug, {}), **values}


def state_of(request_id: UUID) -> str:
    return str(DataSubjectRequest.objects.get(pk=request_id).state)


def test_list__open_requests_by_their_deadline_and_late_in_red() -> None:
    day = today()
    closed = request_in(State.WITHDRAWN, received_on=day - timedelta(days=90))
    due, late = (request_in(State.RECEIVED, received_on=day - timedelta(days=days)) for days in (1, 60))
    paused = request_in(State.IDENTITY_ASKED, received_on=day - timedelta(days=70))
    response = signed_in(staff(VIEW)).get(LIST)
    assert [row.pk for row in response.context["cl"].result_list] == [paused, late, due, closed]
    text = response.content.decode()
    late_on = due_date(day - timedelta(days=60), closed=())
    [label] = re.findall(rf"<span class=\"([^\"]*)\"[^>]*>\s*{late_on} \(late\)", text)
    assert "red" in label
    assert "Record a request" not in text and SECRET not in text


@pytest.mark.parametrize(("choice", "found"), [("open", 4), ("late", 1), ("soon", 1), ("paused", 1), ("closed", 1)])
def test_list__filter_by_deadline(choice: str, found: int) -> None:
    day = today()
    for days in (1, 26, 60):
        request_in(State.RECEIVED, received_on=day - timedelta(days=days))
    request_in(State.IDENTITY_ASKED, received_on=day - timedelta(days=60))
    request_in(State.WITHDRAWN, received_on=day - timedelta(days=5))
    response = signed_in(staff(VIEW)).get(LIST, {"deadline": choice})
    rows = response.context["cl"].result_list
    if choice == "soon":
        rows = [row for row in rows if day <= row.due_on <= day + timedelta(days=7)]
    assert len(rows) == found


def test_page__shows_the_contact_address_only_to_staff_who_handle_requests() -> None:
    request_id = request_in(State.RECEIVED, contact=SECRET)
    assert SECRET not in signed_in(staff(VIEW)).get(page_of(request_id)).content.decode()
    assert SECRET in signed_in(staff(VIEW, HANDLE)).get(page_of(request_id)).content.decode()


@pytest.mark.parametrize(
    ("state", "handle", "decide"),
    [
        (State.RECEIVED, {"ask-identity", "confirm-identity", "extend", "withdraw", "contact"}, {"refuse"}),
        (State.IDENTITY_ASKED, {"confirm-identity", "extend", "withdraw", "contact"}, {"refuse"}),
        (State.IDENTIFIED, {"extend", "withdraw", "contact"}, {"approve", "refuse"}),
        (State.APPROVED, {"extend", "answer", "withdraw", "contact"}, {"refuse"}),
        (State.ANSWERED, set(), set()),
        (State.REFUSED, set(), set()),
        (State.WITHDRAWN, set(), set()),
    ],
)
def test_page__offers_the_permitted_steps(state: State, handle: set[str], decide: set[str]) -> None:
    request_id = request_in(state)
    for permissions, slugs in (((), set()), ((HANDLE,), handle), ((DECIDE,), decide), ((HANDLE, DECIDE), handle | decide)):
        response = signed_in(staff(VIEW, *permissions)).get(page_of(request_id))
        assert {link["url"].split("/")[-2] for link in response.context["step_links"]} == slugs


def test_record__and_the_whole_way(shelf: Shelf) -> None:
    person, recorder, approver = UserFactory.create(), officer(), officer()
    client = signed_in(recorder)
    assert client.get(RECORD).status_code == 200
    received_on = today() - timedelta(days=2)
    response = client.post(RECORD, {"kind": "erasure", "user_id": str(person.pk), "received_on": received_on.isoformat()})
    request = DataSubjectRequest.objects.get()
    assert response["Location"] == page_of(request.pk)
    assert said(response) == [f"Recorded. The answer is due on {due_date(received_on)}."]
    assert (request.contact, request.recorded_by_id) == (person.email, recorder.pk)
    for slug in ("ask-identity", "confirm-identity", "extend"):
        assert client.get(step(request.pk, slug)).status_code == 200
        assert client.post(step(request.pk, slug), form(slug)).status_code == 302
    refused = client.post(step(request.pk, "approve"))
    assert "recorded by the same account" in refused.context["problem"] and state_of(request.pk) == "identified"
    other = signed_in(approver)
    assert said(other.post(step(request.pk, "approve"))) == [
        "Approve: done.",
        (
            f"Run manage.py privacy_request erase {request.pk}, or leave it to manage.py process_requests. Delete the files of {person.pk} that no store"
            " of FILE_STORES has."
        ),
    ]
    assert said(other.post(step(request.pk, "answer"), form("answer")))[-1].startswith("Answer is not possible")
    erase_request(request.pk, actor_id=approver.pk)
    assert "erased" in str(other.get(page_of(request.pk)).content)
    other.post(step(request.pk, "answer"), form("answer"))
    assert state_of(request.pk) == "answered"
    assert [*AuditEntry.objects.filter(target_id=person.pk).order_by("pk").values_list("action", "actor_id", "outcome")] == [
        ("request_record", recorder.pk, "done"),
        ("request_ask", recorder.pk, "done"),
        ("request_identify", recorder.pk, "done"),
        ("request_extend", recorder.pk, "done"),
        ("request_approve", recorder.pk, "failed"),
        ("soft_delete", approver.pk, "done"),
        ("request_approve", approver.pk, "done"),
        ("erase", approver.pk, "done"),
        ("request_answer", approver.pk, "done"),
    ]


def test_record__form_errors() -> None:
    client = signed_in(officer())
    day = today().isoformat()
    for values, field in (
        ({"kind": "objection"}, "processing"),
        ({"kind": "access", "processing": "marketing"}, "processing"),
        ({"kind": "access", "user_id": "x"}, "user_id"),
        ({"kind": "portrait"}, "kind"),
        ({"kind": "access", "received_on": "x"}, "received_on"),
    ):
        response = client.post(RECORD, {"received_on": day, **values})
        assert response.status_code == 200 and list(response.context["form"].errors) == [field], values
    response = client.post(RECORD, {"kind": "access", "received_on": day})
    assert response.context["problem"] == "There is no address for the answer: nothing was recorded. Add --contact ADDRESS."
    assert not DataSubjectRequest.objects.exists()


def test_own_request__cannot_be_approved() -> None:
    person = officer()
    request_id = request_in(State.IDENTIFIED, user_id=person.pk)
    assert "is your own" in signed_in(person).post(step(request_id, "approve")).context["problem"]
    assert state_of(request_id) == "identified"


@pytest.mark.parametrize("slug", sorted(STEPS))
def test_step__needs_its_permission_and_a_post_with_the_token(slug: str, settings: Settings, shelf: Shelf) -> None:
    settings.REQUEST_RECIPIENTS = ["film-storage"]
    state = {"ask-identity": State.RECEIVED, "confirm-identity": State.RECEIVED, "approve": State.IDENTIFIED}.get(slug, State.APPROVED)
    columns = {"kind": "objection", "processing": "marketing"} if slug == "stop" else {"kind": "rectification"}
    if slug == "erase":
        columns = {"kind": "erasure", "contact": "ann@example.com"}
    request_id = request_in(state, received_on=today() - timedelta(days=3), **columns)
    if slug == "erase":
        insert_erasure(request_id=request_id, user_id=DataSubjectRequest.objects.get().user_id)
    permission = STEPS[slug].permission
    other = DECIDE if permission == HANDLE else HANDLE
    before = DataSubjectRequest.objects.values().get()
    for person in (staff(VIEW, other), staff(permission)):
        assert signed_in(person).get(step(request_id, slug)).status_code == 403
        assert signed_in(person).post(step(request_id, slug), form(slug)).status_code == 403
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff(VIEW, permission))
    page = client.get(step(request_id, slug))
    assert page.status_code == 200
    assert client.post(step(request_id, slug), form(slug)).status_code == 403
    assert DataSubjectRequest.objects.values().get() == before and not AuditEntry.objects.exists()
    token = str(page.context["csrf_token"])
    assert client.post(step(request_id, slug), form(slug, csrfmiddlewaretoken=token)).status_code == 302
    assert [*AuditEntry.objects.exclude(outcome="started").values_list("outcome", flat=True)] == ["done"]


def test_step__that_is_not_possible() -> None:
    request_id = request_in(State.ANSWERED)
    for method in ("get", "post"):
        response = getattr(signed_in(officer()), method)(step(request_id, "approve"))
        assert response["Location"] == page_of(request_id)
        assert said(response) == ["Approve is not possible for a request that is 'answered': nothing was changed."]


def test_step__unknown() -> None:
    client = signed_in(officer())
    assert client.get(step(uuid4(), "approve")).status_code == 404
    assert client.get(step(request_in(State.RECEIVED), "bless")).status_code == 404


def test_refuse__offers_the_grounds_of_the_kind() -> None:
    request_id = request_in(State.IDENTIFIED)
    client = signed_in(officer())
    grounds = {value for value, _ in client.get(step(request_id, "refuse")).context["form"].fields["ground"].choices}
    assert grounds == {"", "12_2", "12_5_unfounded", "12_5_excessive", "23", "15_4"}
    for values in ({"ground": "17_3_e"}, {"informed_of_remedies": ""}, {"on": "2999-01-01"}):
        response = client.post(step(request_id, "refuse"), form("refuse", **values))
        assert response.status_code == 200 and state_of(request_id) == "identified"


def test_search__by_user_and_by_request() -> None:
    person = superuser()
    request_id = request_in(State.RECEIVED, user_id=person.pk)
    request_in(State.RECEIVED)
    client = signed_in(person)
    for text in (request_id, person.pk):
        assert [row.pk for row in client.get(LIST, {"q": str(text)}).context["cl"].result_list] == [request_id]
    [link] = [one for one in client.get(change_page(person)).context["related"] if one["title"] == "Requests"]
    assert link["count"] == 1


def test_audit_log__links_to_the_entries_of_a_request() -> None:
    client = signed_in(superuser())
    client.post(RECORD, {"kind": "access", "received_on": today().isoformat(), "contact": SECRET})
    request = DataSubjectRequest.objects.get()
    [link] = client.get(page_of(request.pk)).context["related"]
    text = client.get(link["url"]).content.decode()
    assert f"request {request.pk}" in text and SECRET not in text
