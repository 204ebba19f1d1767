from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from pytest_django import Settings

from accounts.models import User
from calls.models import VideoCall
from findme.core.errors import StoreUnavailable, UserFacingError
from matching.models import Match
from privacy.actions.anonymize import anonymize, preview_anonymization
from privacy.actions.group_size import group_sizes
from privacy.actions.outcome import Outcome
from privacy.actions.pending import process_pending
from privacy.actions.undo_erasure import undo_erasures
from privacy.declarations import Disposition
from privacy.registry import Effect
from tests.factories import UserFactory, VideoFactory
from tests.privacy.life import full_life, working_life
from tests.privacy.shelf import Shelf
from videos.models import Video

pytestmark = pytest.mark.django_db

EFFECTS = [
    Effect("profiles (e-mail, name, bio, password, last login)", 1, Disposition.CLEARED),
    Effect("profiles (date of birth, to 1 January of its year)", 1, Disposition.REDUCED),
    Effect("profiles (gender, flags, times)", 1, Disposition.KEPT),
    Effect("videos (URLs, rejection reasons, metadata)", 2, Disposition.CLEARED),
    Effect("video files in the storage that their URLs name", 3, Disposition.KEPT),
    Effect("matches", 2, Disposition.KEPT),
    Effect("calls (session, recording, metadata)", 2, Disposition.CLEARED),
    Effect("call recordings in the storage that their URLs name", 2, Disposition.KEPT),
    Effect("points in the shelf", 1, Disposition.DELETED),
]


def everything() -> dict[str, list[Any]]:
    return {model.__name__: list(model._base_manager.order_by("pk").values()) for model in (User, Video, Match, VideoCall)}


def test_anonymize__preview_equals_the_effects(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    before = everything()
    assert preview_anonymization(person.pk) == EFFECTS
    assert everything() == before
    assert anonymize(person.pk) == Outcome(person.pk, changed=True, effects=tuple(EFFECTS))
    assert shelf.ids == set()


def test_anonymize__connects_to_stores_first_and_deletes_there_last(shelf: Shelf) -> None:
    person = full_life()
    shelf.before_removal = lambda: shelf.calls.append(User.objects.get(pk=person.pk).full_name)
    anonymize(person.pk)
    assert shelf.calls == ["session", "remove", "Deleted User", "release"]


def test_anonymize__store_unavailable__changes_nothing(shelf: Shelf) -> None:
    person = full_life()
    before, shelf.reachable = everything(), False
    with pytest.raises(StoreUnavailable, match="The shelf is too high"):
        preview_anonymization(person.pk)
    with pytest.raises(StoreUnavailable, match="The shelf is too high"):
        anonymize(person.pk)
    assert everything() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("moment", ["before_removal", "after_removal"])
def test_anonymize__store_fails_at_the_deletion__postgresql_is_unchanged(shelf: Shelf, moment: str) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    before = everything()
    setattr(shelf, moment, shelf.fail)
    with pytest.raises(StoreUnavailable) as refused:
        anonymize(person.pk)
    assert str(refused.value) == (
        "The shelf is too high. Fetch a ladder. PostgreSQL is unchanged, but the shelf may still have the user."
        " Run this again, or leave it to manage.py process_requests."
    )
    assert everything() == before
    assert (person.pk in shelf.ids) == (moment == "before_removal")


def test_anonymize__again__clears_newer_data(shelf: Shelf) -> None:
    person = full_life()
    anonymize(person.pk)
    first = User.objects.get(pk=person.pk)
    undo_erasures([person.pk])
    VideoFactory.create(user=person, storage_url="https://videos.example/late.mp4")
    shelf.ids.add(person.pk)
    outcome = anonymize(person.pk)
    assert not outcome.changed
    assert outcome.effects[-1] == Effect("points in the shelf", 1, Disposition.DELETED)
    assert shelf.ids == set()
    assert set(Video.objects.filter(user=person).values_list("storage_url", flat=True)) == {""}
    assert User.objects.get(pk=person.pk).deleted_at == first.deleted_at


def test_anonymize__keeps_the_time_of_a_soft_deletion(shelf: Shelf) -> None:
    then = datetime(2025, 1, 1, tzinfo=UTC)
    person = UserFactory.create(deleted_at=then)
    assert anonymize(person.pk).changed
    person.refresh_from_db()
    assert (person.full_name, person.deleted_at) == ("Deleted User", then)


def test_anonymize__changes_no_other_user(shelf: Shelf) -> None:
    person, other = full_life(), full_life(email="other@example.org")
    shelf.ids |= {person.pk, other.pk}
    others = User.objects.exclude(pk=person.pk).order_by("pk")
    before = list(others.values()), list(Video.objects.filter(user=other).order_by("pk").values())
    anonymize(person.pk)
    assert (list(others.values()), list(Video.objects.filter(user=other).order_by("pk").values())) == before
    assert shelf.ids == {other.pk}


def test_anonymize__of_a_staff_member(shelf: Shelf) -> None:
    person = full_life()
    working_life(person)
    outcome = anonymize(person.pk)
    assert outcome.effects[3:7] == (
        Effect("groups and permissions", 2, Disposition.DELETED),
        Effect("sessions", 1, Disposition.DELETED),
        Effect("admin log entries by the user", 1, Disposition.KEPT),
        Effect("admin log entries about the user, by id", 1, Disposition.KEPT),
    )
    person = User.objects.get(pk=person.pk)
    assert (person.is_staff, person.is_superuser) == (True, False)
    assert not person.groups.exists()
    assert not person.user_permissions.exists()
    assert Session.objects.count() == 1
    assert LogEntry.objects.count() == 2


def test_anonymize__an_unknown_user(shelf: Shelf) -> None:
    unknown_id = uuid4()
    for act in (preview_anonymization, anonymize):
        with pytest.raises(UserFacingError, match=f"^PostgreSQL has no user with the id '{unknown_id}'"):
            act(unknown_id)


def test_anonymize__new_address_is_reserved(shelf: Shelf) -> None:
    person, other = UserFactory.create(), UserFactory.create()
    other.email = f"Deleted_{person.pk}@FindMe.ai"
    with pytest.raises(ValidationError) as invalid:
        other.full_clean()
    assert invalid.value.message_dict == {"email": ["This address is reserved for an anonymized user."]}
    with pytest.raises(IntegrityError, match="users_reserved_email_check"), transaction.atomic():
        other.save()
    for free in ("deleted_@findme.ai", "deleted_x@findme.ai", f"deleted_{person.pk}@example.com"):
        other.email = free
        other.full_clean()
        other.save()
    anonymize(person.pk)


@pytest.mark.parametrize(
    ("setting", "born", "kept"),
    [
        ("year", date(1990, 7, 21), date(1990, 1, 1)),
        ("year", date(1992, 12, 31), date(1992, 1, 1)),
        ("year", date(1990, 1, 1), date(1990, 1, 1)),
        ("year", date(1, 7, 21), date(1, 1, 2)),
        ("keep", date(1990, 7, 21), date(1990, 7, 21)),
    ],
)
def test_date_of_birth(shelf: Shelf, settings: Settings, setting: str, born: date, kept: date) -> None:
    settings.ANONYMIZE_DATE_OF_BIRTH = setting
    person = UserFactory.create(date_of_birth=born)
    effects = anonymize(person.pk).effects
    assert User.objects.get(pk=person.pk).date_of_birth == kept
    assert [effect.disposition for effect in effects if "birth" in effect.what] == [
        Disposition.REDUCED if setting == "year" else Disposition.KEPT
    ]
    anonymize(person.pk)
    assert User.objects.get(pk=person.pk).date_of_birth == kept


@pytest.mark.django_db(transaction=True)
def test_date_of_birth__statement_of_the_guide__is_completed(shelf: Shelf, settings: Settings) -> None:
    """The guide's UPDATE leaves the date, and is accepted. ``process_requests`` completes the anonymization."""
    person = UserFactory.create(date_of_birth=date(1990, 7, 21))
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE users SET email = 'deleted_' || id || '@findme.ai', full_name = 'Deleted User', bio = NULL, password_hash = '',"
            " deleted_at = NOW() WHERE id = %s",
            [person.pk],
        )
    assert User.objects.get(pk=person.pk).date_of_birth == date(1990, 7, 21)
    process_pending()
    assert User.objects.get(pk=person.pk).date_of_birth == date(1990, 1, 1)


def test_group_sizes__counts_the_year_of_birth_and_the_gender(shelf: Shelf) -> None:
    ann, bea = (UserFactory.create(date_of_birth=date(1990, month, 3), gender="female") for month in (1, 12))
    UserFactory.create(date_of_birth=date(1990, 6, 1), gender="male")
    UserFactory.create(date_of_birth=date(1991, 1, 1), gender="female")
    anonymize(bea.pk)
    assert group_sizes([ann.pk, bea.pk, uuid4()]) == {ann.pk: 2, bea.pk: 2}
