"""Errors in the user forms of the admin, also those that only the database finds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.postgres.functions import TransactionNow
from django.db import transaction
from django.urls import reverse

from accounts.admin.users import UserAdmin
from accounts.models import User
from tests.factories import PASSWORD, UserFactory, VideoFactory
from tests.support.sessions import is_waiting_for_lock
from tests.support.staff import change_page, errors_of, new_user_form, opened, person_form, save, signed_in, staff, superuser
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

ADD = reverse("admin:accounts_user_add")
TAKEN = "Another user has this e-mail address."


@pytest.mark.django_db
@pytest.mark.parametrize("email", ["taken@example.com", "TAKEN@example.com"])
def test_change__address_of_another_user(email: str) -> None:
    UserFactory.create(email="taken@example.com")
    person = UserFactory.create()
    response = save(signed_in(superuser()), change_page(person), person_form(person, email=email))
    assert errors_of(response) == {"email": [TAKEN]}


@pytest.mark.django_db
def test_change__own_address_in_another_case() -> None:
    person = UserFactory.create(email="mine@example.com")
    assert save(signed_in(superuser()), change_page(person), person_form(person, email="Mine@example.com")).status_code == 302


@pytest.mark.django_db
def test_change__date_of_birth_in_the_future() -> None:
    person = UserFactory.create()
    tomorrow = date.today() + timedelta(days=2)  # noqa: DTZ011  # two days ahead is ahead in every time zone
    response = save(signed_in(superuser()), change_page(person), person_form(person, date_of_birth=tomorrow.isoformat()))
    assert errors_of(response) == {"date_of_birth": ["A date of birth must not be in the future."]}


@pytest.mark.django_db
def test_change__video_of_another_user() -> None:
    person, video = UserFactory.create(), VideoFactory.create()
    response = save(signed_in(superuser()), change_page(person), person_form(person, video=video.pk))
    assert errors_of(response) == {"video": ["This video belongs to another user."]}


@pytest.mark.django_db
def test_change__own_video() -> None:
    person = UserFactory.create()
    video = VideoFactory.create(user=person)
    assert save(signed_in(superuser()), change_page(person), person_form(person, video=video.pk)).status_code == 302
    person.refresh_from_db()
    assert person.video_id == video.pk


@pytest.mark.django_db
@pytest.mark.parametrize("video", ["no-uuid", str(uuid4())], ids=["no UUID", "unknown UUID"])
def test_change__unknown_video(video: str) -> None:
    person = UserFactory.create()
    assert list(errors_of(save(signed_in(superuser()), change_page(person), person_form(person, video=video)))) == ["video"]


@pytest.mark.django_db
def test_change__unknown_user() -> None:
    response = signed_in(superuser()).post(reverse("admin:accounts_user_change", args=["no-uuid"]), {"email": "a@example.com"})
    assert response.headers["Location"] == reverse("admin:index")


def between_validation_and_saving(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    """Run and commit ``work`` in another transaction once, after the form was validated."""
    save, done = UserAdmin.save_model, threading.Event()

    def save_model(self: UserAdmin, *args: Any) -> None:
        if not done.is_set():
            done.set()
            in_thread(work).result()
        save(self, *args)

    monkeypatch.setattr(UserAdmin, "save_model", save_model)


@pytest.mark.django_db(transaction=True)
def test_add__address_is_taken_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(superuser())
    between_validation_and_saving(monkeypatch, lambda: UserFactory.create(email="NEW@example.com"))
    response = client.post(ADD, new_user_form())
    assert response.status_code == 200 and errors_of(response) == {"email": [TAKEN]}
    assert User.objects.filter(email__iexact="new@example.com").count() == 1


@pytest.mark.django_db(transaction=True)
def test_change__address_is_taken_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    person, client = UserFactory.create(full_name="Before"), signed_in(superuser())
    between_validation_and_saving(monkeypatch, lambda: UserFactory.create(email="new@example.com"))
    response = save(client, change_page(person), person_form(person, email="new@example.com", full_name="After"))
    assert errors_of(response) == {"email": [TAKEN]}
    person.refresh_from_db()
    assert person.full_name == "Before"


@pytest.mark.django_db(transaction=True)
def test_change__address_is_taken_and_released_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is free by the second query, but the form still shows the database error."""
    rival: list[User] = []
    check = UserAdmin.get_form

    def get_form(self: UserAdmin, request: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(request, "db_error", None) is not None:
            in_thread(rival[0].delete).result()
        return check(self, request, *args, **kwargs)

    person, client = UserFactory.create(), signed_in(superuser())
    between_validation_and_saving(monkeypatch, lambda: rival.append(UserFactory.create(email="new@example.com")))
    monkeypatch.setattr(UserAdmin, "get_form", get_form)
    response = save(client, change_page(person), person_form(person, email="new@example.com"))
    assert errors_of(response) == {"email": [TAKEN]}


@pytest.mark.django_db(transaction=True)
def test_change__video_is_deleted_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a deferred constraint finds it. Without an early check the commit would fail and show an error page."""
    person = UserFactory.create()
    video, client = VideoFactory.create(user=person), signed_in(superuser())
    between_validation_and_saving(monkeypatch, lambda: video.delete())
    response = save(client, change_page(person), person_form(person, video=video.pk))
    assert response.status_code == 200 and list(errors_of(response)) == ["video"]


def post_during_anonymization(person: User, post: Callable[[], Any]) -> Any:
    """Return the answer of ``post``, which begins before an anonymization of ``person`` commits."""
    with transaction.atomic():
        User.objects.filter(pk=person.pk).update(
            email=f"deleted_{person.pk}@findme.ai", full_name="Deleted User", deleted_at=TransactionNow()
        )
        running = in_thread(post)
        wait_until(is_waiting_for_lock, "The post waits for the row")
        assert not running.done()
    response = running.result()
    person.refresh_from_db()
    return response


@pytest.mark.django_db(transaction=True)
def test_change__during_an_anonymization__waits_and_does_not_undo_it() -> None:
    """The row is locked before it is read, so that a form cannot write back what was cleared meanwhile."""
    person, client = UserFactory.create(), signed_in(superuser())
    posted = opened(client, change_page(person)) | person_form(person, full_name="Written back")
    response = post_during_anonymization(person, lambda: client.post(change_page(person), posted))
    assert response.status_code == 403 and person.full_name == "Deleted User"


@pytest.mark.django_db(transaction=True)
def test_password__during_an_anonymization__waits_and_does_not_undo_it() -> None:
    person, client = UserFactory.create(), signed_in(superuser())
    posted = {"password1": "another-one-5", "password2": "another-one-5"}
    address = reverse("admin:auth_user_password_change", args=[person.pk])
    response = post_during_anonymization(person, lambda: client.post(address, posted))
    assert response.status_code == 403 and person.full_name == "Deleted User"


@pytest.mark.django_db(transaction=True)
def test_own_password__during_an_anonymization__waits_and_does_not_undo_it() -> None:
    person = superuser()
    client = signed_in(person)
    response = post_during_anonymization(person, lambda: client.post(reverse("admin:password_change"), own_password()))
    assert response.headers["Location"].startswith(reverse("admin:login")) and person.full_name == "Deleted User"


@pytest.mark.django_db
def test_own_password__changed() -> None:
    person = staff()
    client = signed_in(person)
    assert client.post(reverse("admin:password_change"), own_password(old_password="wrong")).status_code == 200
    assert client.post(reverse("admin:password_change"), own_password()).headers["Location"] == reverse("admin:password_change_done")
    person.refresh_from_db()
    assert person.check_password("another-one-5")
    assert client.get(reverse("admin:index")).status_code == 200  # still logged in


def own_password(**fields: str) -> dict[str, str]:
    return {"old_password": PASSWORD, "new_password1": "another-one-5", "new_password2": "another-one-5"} | fields


@pytest.mark.django_db(transaction=True)
def test_change__of_a_user_who_was_erased_in_between__does_not_insert_the_user_again() -> None:
    person, client = UserFactory.create(), signed_in(superuser())
    posted = person_form(person, full_name="A ghost")
    User.objects.filter(pk=person.pk).delete()
    assert client.post(change_page(person), posted).status_code == 302
    assert not User.objects.filter(pk=person.pk).exists()
