import json
from datetime import UTC, date, datetime

import pytest
from django.contrib.auth import authenticate
from django.contrib.sessions.models import Session

from accounts.models import User
from accounts.personal_data import Profile
from privacy.archive.zip_file import as_json
from tests.factories import PASSWORD, UserFactory
from tests.privacy.life import BIO, EMAIL, FULL_NAME, full_life, open_session, working_life

pytestmark = pytest.mark.django_db

ANONYMIZED = {
    "full_name": "Deleted User",
    "bio": None,
    "password": "",
    "last_login": None,
    "is_superuser": False,
}
"""Columns of the guide except ``email`` and ``deleted_at``, and the other columns of an account."""
WITH_THE_TIME = {"deleted_at", "updated_at"}


def row(person: User) -> dict[str, object]:
    return dict(User.objects.filter(pk=person.pk).values().get())


def test_export__has_every_column_except_the_password() -> None:
    person = full_life()
    exported = Profile().export(person.pk)
    columns = {field.column for field in User._meta.concrete_fields}
    assert columns - exported.keys() == {"password_hash"}
    assert exported.keys() - columns == {"groups", "user_permissions", "sessions", "admin_log"}
    for field in User._meta.concrete_fields:
        if field.name != "password":
            assert exported[field.attname] == getattr(person, field.attname)
    assert (exported["email"], exported["full_name"], exported["bio"]) == (EMAIL, FULL_NAME, BIO)


def test_export__never_has_the_password() -> None:
    person = full_life()
    assert person.password
    assert person.password not in as_json(Profile().export(person.pk))


def test_export__of_a_staff_member__has_their_actions() -> None:
    person = full_life()
    working_life(person)
    exported = json.loads(as_json(Profile().export(person.pk)))
    assert exported["groups"] == ["Privacy officers"]
    assert exported["user_permissions"] == ["accounts.export_personal_data"]
    (session,) = exported["sessions"]
    assert session.keys() == {"expire_date"}
    by, about = exported["admin_log"]
    assert by["user_id"] == about["object_id"] == str(person.pk)
    assert by["content_type"] == about["content_type"] == "accounts.user"
    assert by.keys() == {"id", "action_time", "user_id", "content_type", "object_id", "object_repr", "action_flag", "change_message"}


def test_export__of_a_member__has_no_actions_of_staff() -> None:
    colleague = full_life()
    working_life(colleague)
    exported = Profile().export(UserFactory.create().pk)
    assert [exported[name] for name in ("groups", "user_permissions", "sessions", "admin_log")] == [[], [], [], []]


def test_anonymize__field_by_field() -> None:
    person = full_life(date_of_birth=date(1990, 7, 21))
    working_life(person)
    before = row(person)
    Profile().anonymize(person.pk)
    after = row(person)
    changed = {name: value for name, value in after.items() if value != before[name] and name not in WITH_THE_TIME}
    assert changed == {"email": f"deleted_{person.pk}@findme.ai", "date_of_birth": date(1990, 1, 1), **ANONYMIZED}
    assert after["deleted_at"] is not None
    assert after["deleted_at"] == after["updated_at"]


def test_anonymize__keeps_the_time_of_an_earlier_deletion() -> None:
    then = datetime(2025, 1, 1, tzinfo=UTC)
    person = UserFactory.create(deleted_at=then)
    Profile().anonymize(person.pk)
    assert row(person)["deleted_at"] == then


def test_anonymize__prevents_a_log_in() -> None:
    person = UserFactory.create()
    assert authenticate(username=person.email, password=PASSWORD) == person
    Profile().anonymize(person.pk)
    for password in (PASSWORD, ""):
        for email in (person.email, f"deleted_{person.pk}@findme.ai"):
            assert authenticate(username=email, password=password) is None


@pytest.mark.parametrize("remove", [Profile().anonymize, Profile().erase])
def test_sessions__of_a_removed_user_are_deleted_and_no_others(remove: object) -> None:
    person, colleague = UserFactory.create_batch(2, is_staff=True)
    open_session(person)
    open_session(person)
    kept = open_session(colleague)
    assert callable(remove)
    remove(person.pk)
    assert [session.pk for session in Session.objects.all()] == [kept]
