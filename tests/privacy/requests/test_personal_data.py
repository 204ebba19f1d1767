"""The export of a user's requests, and what happens to them when the user is anonymized or erased."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings

from privacy.actions.anonymize import anonymize, preview_anonymization
from privacy.actions.erase import erase, preview_erasure
from privacy.actions.export import export_sections
from privacy.models import DataSubjectRequest
from privacy.models.request_choices import Kind, Method
from privacy.requests import steps
from tests.factories import UserFactory
from tests.privacy.shelf import Shelf

pytestmark = pytest.mark.django_db


@pytest.mark.django_db(transaction=True)
def test_export__has_the_users_requests_without_the_staff(shelf: Shelf, settings: Settings) -> None:
    settings.REQUEST_RECIPIENTS = ["film-storage"]
    person, recorder, approver = UserFactory.create(), uuid4(), uuid4()
    request = steps.record(Kind.ERASURE, user_id=person.pk, actor_id=recorder)
    steps.confirm_identity(request.pk, Method.IN_PERSON, actor_id=recorder)
    steps.approve(request.pk, actor_id=approver)
    steps.inform_recipient(request.pk, "film-storage", actor_id=recorder)
    steps.record(Kind.ACCESS, contact="bob@example.com")
    exported = export_sections(person.pk)
    (found,) = exported["requests"]
    assert (found["id"], found["kind"], found["state"], found["contact"]) == (request.pk, "erasure", "approved", person.email)
    assert [one["recipient"] for one in found["recipients"]] == ["film-storage"]
    assert str(recorder) not in str(exported) and str(approver) not in str(exported)
    steps_of_request = [entry["action"] for entry in exported["audit_log"] if entry["request_id"] == request.pk]
    assert steps_of_request == ["request_record", "request_identify", "request_approve", "request_inform"]


@pytest.mark.parametrize(("remove", "preview"), [(anonymize, preview_anonymization), (erase, preview_erasure)])
def test_removal__keeps_the_request_and_its_address(remove: Callable[..., Any], preview: Callable[..., list[Any]], shelf: Shelf) -> None:
    person = UserFactory.create()
    request = steps.record(Kind.ERASURE, user_id=person.pk)
    lines = [str(effect) for effect in preview(person.pk)]
    assert "requests, by id: 1, kept" in lines
    assert "contact addresses of requests, until the time for complaints is over: 1, kept" in lines
    before = DataSubjectRequest.objects.values().get()
    remove(person.pk)
    assert DataSubjectRequest.objects.values().get() == before
    assert before["id"] == request.pk and before["contact"] == person.email
