"""Two tabs on one row: the later save never overwrites the earlier save without a message."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from accounts.models import User
from calls.models import VideoCall
from findme.core.admin.edit_conflicts import NOT_COMPARABLE, OPENED_WITH
from matching.models import Match
from tests.factories import PASSWORD, MatchFactory, UserFactory, VideoCallFactory, VideoFactory
from tests.support.html_form import fields_of
from tests.support.sessions import sessions_waiting_for_a_lock
from tests.support.staff import change_page, errors_of, signed_in, staff, superuser
from tests.support.threads import in_thread
from tests.support.waiting import wait_until
from videos.models import Video

pytestmark = pytest.mark.django_db


def tab(client: Client, row: Model) -> dict[str, Any]:
    """Open the page of the row and return the data that Save would post."""
    return fields_of(client.get(change_page(row)))


def conflict(response: Any) -> str:
    """Return the only error message of a rejected save."""
    errors = errors_of(response)
    assert list(errors) == ["__all__"], errors
    (sentence,) = errors["__all__"]
    return sentence


CASES: list[tuple[Callable[[], Model], dict[str, Any], str, dict[str, Any]]] = [
    (
        lambda: UserFactory.create(bio="An old bio.", full_name="Old Name"),
        {"bio": "A new bio."},
        "Bio: was “An old bio.”, is now “A new bio.”; the new value is shown below.",
        {"full_name": "New Name"},
    ),
    (
        lambda: UserFactory.create(verified=True, gender="female"),
        {"verified": False, "gender": "male"},
        "Gender: was “Female”, is now “Male”; the new value is shown below. Verified: was yes, is now no; the new value is shown below.",
        {"full_name": "New Name"},
    ),
    (
        lambda: VideoFactory.create(status="processing"),
        {"rejection_reason": "No face."},
        "Rejection reason: was empty, is now “No face.”; the new value is shown below.",
        {"thumbnail_url": "https://videos.example.com/new.jpg"},
    ),
    (
        lambda: MatchFactory.create(status="pending", expires_at=datetime(2031, 2, 3, 4, 5, 6, 789, UTC)),
        {"expires_at": datetime(2032, 2, 3, 4, 5, 6, 789, UTC)},
        "Expires at: was “2031-02-03 04:05:06+00:00”, is now “2032-02-03 04:05:06+00:00”; the new value is shown below.",
        {"user_action": "accepted"},
    ),
    (
        lambda: VideoCallFactory.create(status="ended", quality_rating=4),
        {"quality_rating": 2, "recording_url": None},
        "Quality rating: was 4, is now 2; the new value is shown below.",
        {"status": "missed"},
    ),
]


@pytest.mark.parametrize(("make", "theirs", "sentence", "ours"), CASES, ids=["bio", "flags", "video", "match", "call"])
def test_change__conflict_is_rejected_and_saved_at_the_second_try(
    make: Callable[[], Model], theirs: dict[str, Any], sentence: str, ours: dict[str, Any]
) -> None:
    row, client = make(), signed_in(superuser())
    model = type(row)
    posted = tab(client, row) | ours
    model._default_manager.filter(pk=row.pk).update(**theirs)
    response = client.post(change_page(row), posted)
    assert conflict(response) == (
        f"Another session changed this {model._meta.verbose_name} after you opened this page: nothing was saved. {sentence} Check and save again."
    )
    stored = model._default_manager.get(pk=row.pk)
    assert {name: getattr(stored, name) for name in ours} == {name: getattr(row, name) for name in ours}
    assert client.post(change_page(row), fields_of(response)).status_code == 302
    stored = model._default_manager.get(pk=row.pk)
    assert {name: getattr(stored, name) for name in theirs | ours} == theirs | ours


def test_change__both_changed_the_same_field() -> None:
    person, client = UserFactory.create(bio="Old."), signed_in(superuser())
    first, second = tab(client, person), tab(client, person)
    assert client.post(change_page(person), first | {"bio": "First."}).status_code == 302
    response = client.post(change_page(person), second | {"bio": "Second."})
    assert "Bio: was “Old.”, is now “First.”; your value is kept below." in conflict(response)
    assert User.objects.get(pk=person.pk).bio == "First."
    assert fields_of(response)["bio"] == ["Second."]
    assert client.post(change_page(person), fields_of(response)).status_code == 302
    assert User.objects.get(pk=person.pk).bio == "Second."


def test_change__two_conflicts() -> None:
    person, client = UserFactory.create(bio="Old."), signed_in(superuser())
    posted = tab(client, person)
    User.objects.filter(pk=person.pk).update(bio="First.")
    again = fields_of(client.post(change_page(person), posted | {"full_name": "Mine"}))
    User.objects.filter(pk=person.pk).update(bio="Second.")
    response = client.post(change_page(person), again)
    assert "Bio: was “First.”, is now “Second.”" in conflict(response)
    assert client.post(change_page(person), fields_of(response)).status_code == 302
    person.refresh_from_db()
    assert (person.bio, person.full_name) == ("Second.", "Mine")


def test_change__both_saved_the_same() -> None:
    """An example is a double click on Save."""
    person, client = UserFactory.create(), signed_in(superuser())
    posted = tab(client, person) | {"bio": "Mine."}
    assert [client.post(change_page(person), posted).status_code for _ in range(2)] == [302, 302]


def test_change__conflict_and_invalid_input_are_both_reported() -> None:
    person, client = UserFactory.create(bio="Old."), signed_in(superuser())
    posted = tab(client, person)
    User.objects.filter(pk=person.pk).update(bio="New.", email="new@example.com")
    response = client.post(change_page(person), posted | {"email": "no address"})
    errors = errors_of(response)
    assert errors["email"] == ["Enter a valid email address."]
    assert (
        "is now “new@example.com”; your value is kept below. Bio: was “Old.”, is now “New.”; the new value is shown" in errors["__all__"][0]
    )
    assert fields_of(response)["email"] == ["no address"] and fields_of(response)["bio"] == ["New."]


@pytest.mark.django_db(transaction=True)
def test_change__login_meanwhile_is_no_conflict() -> None:
    """A login changes ``last_login`` and ``updated_at``, which the form does not change."""
    colleague, client = staff(), signed_in(superuser())
    posted = tab(client, colleague)
    before = colleague.updated_at
    assert Client().login(email=colleague.email, password=PASSWORD)
    colleague.refresh_from_db()
    assert colleague.updated_at > before and colleague.last_login is not None
    assert client.post(change_page(colleague), posted | {"full_name": "New"}).status_code == 302
    logged_in_at = colleague.last_login
    colleague.refresh_from_db()
    assert (colleague.full_name, colleague.last_login) == ("New", logged_in_at)


@pytest.mark.parametrize("make", [VideoFactory.create, MatchFactory.create, VideoCallFactory.create])
def test_change__deleted_meanwhile_is_not_inserted_again(make: Callable[[], Model]) -> None:
    row, client = make(), signed_in(superuser())
    posted = tab(client, row)
    type(row)._default_manager.filter(pk=row.pk).delete()
    response = client.post(change_page(row), posted)
    assert response.headers["Location"] == reverse("admin:index")
    assert not type(row)._default_manager.filter(pk=row.pk).exists()


def test_change__recording_of_an_anonymized_user_is_not_restored() -> None:
    call, client = VideoCallFactory.create(recording_url="https://calls.example.com/1"), signed_in(superuser())
    posted = tab(client, call)
    VideoCall.objects.filter(pk=call.pk).update(recording_url=None)
    response = client.post(change_page(call), posted | {"status": "missed"})
    assert "Recording url: was “https://calls.example.com/1”, is now empty; the new value is shown below." in conflict(response)
    assert client.post(change_page(call), fields_of(response)).status_code == 302
    call.refresh_from_db()
    assert (call.status, call.recording_url) == ("missed", None)


def test_groups_of_a_user__both_changed() -> None:
    old, theirs, ours = (Group.objects.create(name=name) for name in ("Old", "Theirs", "Ours"))
    person, client = staff(), signed_in(superuser())
    person.groups.add(old)
    posted = tab(client, person)
    person.groups.set([theirs])
    response = client.post(change_page(person), posted | {"groups": [old.pk, ours.pk]})
    assert "Groups: added “Theirs”, removed “Old”; your value is kept below." in conflict(response)
    assert list(person.groups.all()) == [theirs]
    assert client.post(change_page(person), fields_of(response)).status_code == 302
    assert set(person.groups.all()) == {old, ours}


def test_groups_of_a_user__changed_by_the_other_only() -> None:
    theirs = Group.objects.create(name="Theirs <b>")
    person, client = staff(), signed_in(superuser())
    posted = tab(client, person) | {"bio": "Mine."}
    person.groups.add(theirs)
    response = client.post(change_page(person), posted)
    assert "Groups: added “Theirs <b>”; the new value is shown below." in conflict(response)
    assert b"Theirs <b>" not in response.content
    assert client.post(change_page(person), fields_of(response)).status_code == 302
    assert list(person.groups.all()) == [theirs]


def test_groups_of_a_user__group_deleted_meanwhile() -> None:
    gone = Group.objects.create(name="Gone")
    person, client = staff(), signed_in(superuser())
    person.groups.add(gone)
    posted = tab(client, person)
    gone.delete()
    response = client.post(change_page(person), posted)
    assert "Groups: removed 1 that this page does not offer;" in errors_of(response)["__all__"][0]
    assert client.post(change_page(person), fields_of(response)).status_code == 302


def test_permissions_of_a_group__changed_by_both() -> None:
    view, change = (Permission.objects.get(codename=f"{verb}_video") for verb in ("view", "change"))
    group, client = Group.objects.create(name="Support"), signed_in(superuser())
    posted = tab(client, group)
    group.permissions.add(view)
    response = client.post(change_page(group), posted | {"permissions": [change.pk]})
    assert "Permissions: added “Can view video”; your value is kept below." in conflict(response)
    assert list(group.permissions.all()) == [view]


def test_permissions__that_the_page_does_not_offer_stay() -> None:
    """Another program granted the permission, and no page here shows it."""
    unoffered = Permission.objects.get(codename="delete_session")
    group, client = Group.objects.create(name="Support"), signed_in(superuser())
    posted = tab(client, group)
    group.permissions.add(unoffered)
    assert client.post(change_page(group), posted | {"name": "Helpers"}).status_code == 302
    group.refresh_from_db()
    assert group.name == "Helpers" and list(group.permissions.all()) == [unoffered]


def test_fields_that_the_user_may_not_see__are_neither_compared_nor_changed() -> None:
    """Only superusers see permissions."""
    person, group = UserFactory.create(), Group.objects.create(name="Secret")
    client = signed_in(staff("accounts.view_user", "accounts.change_user"))
    posted = tab(client, person)
    assert "groups" not in posted
    person.groups.add(group)
    assert client.post(change_page(person), posted | {"bio": "Mine."}).status_code == 302
    assert list(person.groups.all()) == [group]


def test_fields_that_the_page_did_not_have__are_not_emptied() -> None:
    """The user became a superuser after opening the page: fields that it did not have keep their values."""
    officer, person = staff("accounts.view_user", "accounts.change_user"), UserFactory.create()
    group = Group.objects.create(name="Support")
    person.groups.add(group)
    client = signed_in(officer)
    posted = tab(client, person)
    User.objects.filter(pk=officer.pk).update(is_superuser=True)
    response = client.post(change_page(person), posted)
    assert "Staff: is no; the new value is shown below." in conflict(response)
    assert "Groups: added “Support”; the new value is shown below." in conflict(response)
    assert client.post(change_page(person), fields_of(response)).status_code == 302
    assert list(person.groups.all()) == [group]


def without_values(posted: dict[str, Any], _other: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in posted.items() if name != OPENED_WITH}


def forged(posted: dict[str, Any], _other: dict[str, Any]) -> dict[str, Any]:
    return posted | {OPENED_WITH: posted[OPENED_WITH][0][:-1] + ("A" if posted[OPENED_WITH][0][-1] != "A" else "B")}


def of_another_row(posted: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return posted | {OPENED_WITH: other[OPENED_WITH]}


@pytest.mark.parametrize("spoil", [without_values, forged, of_another_row])
def test_change__values_that_cannot_be_compared(spoil: Callable[..., dict[str, Any]]) -> None:
    video, client = VideoFactory.create(storage_url="s3://old"), signed_in(superuser())
    posted = tab(client, video) | {"storage_url": "s3://new"}
    response = client.post(change_page(video), spoil(posted, tab(client, VideoFactory.create())))
    assert conflict(response) == NOT_COMPARABLE and Video.objects.get(pk=video.pk).storage_url == "s3://old"
    assert client.post(change_page(video), fields_of(response)).status_code == 302
    assert Video.objects.get(pk=video.pk).storage_url == "s3://new"


@pytest.mark.parametrize("bio", [None, "Line one.\nLine two.\n", " spaces ", "\r\nold\r\n"])
def test_change__what_a_form_cannot_hold_stays(bio: str | None) -> None:
    """A browser posts CR LF. Django strips spaces and shows NULL as an empty text."""
    person, client = UserFactory.create(bio=bio), signed_in(superuser())
    assert client.post(change_page(person), tab(client, person) | {"full_name": "New"}).status_code == 302
    person.refresh_from_db()
    assert (person.full_name, person.bio) == ("New", bio)


def test_change__microseconds_stay() -> None:
    expires = datetime(2031, 2, 3, 4, 5, 6, 789, UTC)
    match, client = MatchFactory.create(status="pending", expires_at=expires), signed_in(superuser())
    assert client.post(change_page(match), tab(client, match) | {"user_action": "accepted"}).status_code == 302
    match.refresh_from_db()
    assert (match.user_action, match.expires_at) == ("accepted", expires)


def test_change__log_names_only_changed_fields() -> None:
    person, client = UserFactory.create(bio="Line one.\nLine two."), signed_in(superuser())
    client.post(change_page(person), tab(client, person) | {"full_name": "New"})
    history = client.get(reverse("admin:accounts_user_history", args=[person.pk]))
    assert [entry.get_change_message() for entry in history.context["action_list"]] == ["Changed Full name."]


def test_add__needs_no_values() -> None:
    client = signed_in(superuser())
    assert OPENED_WITH not in fields_of(client.get(reverse("admin:auth_group_add")))
    assert client.post(reverse("admin:auth_group_add"), {"name": "Support"}).status_code == 302


def test_page__read_only_page_has_no_values() -> None:
    client = signed_in(staff("videos.view_video"))
    assert OPENED_WITH not in tab(client, VideoFactory.create())


@pytest.mark.django_db(transaction=True)
def test_change__two_saves_at_once() -> None:
    """Both requests wait for the row lock. The second one sees the values that the first one committed."""
    person, admin = UserFactory.create(bio="Old."), superuser()
    posts = {name: tab(signed_in(admin), person) | {"bio": name} for name in ("First.", "Second.")}
    answers: dict[str, Any] = {}

    def post(name: str) -> None:
        answers[name] = signed_in(admin).post(change_page(person), posts[name])

    with transaction.atomic():
        User.objects.select_for_update().get(pk=person.pk)
        threads = [in_thread(lambda name=name: post(name)) for name in posts]  # type: ignore[misc]  # mypy does not see the default
        wait_until(lambda: sessions_waiting_for_a_lock() == 2, "Both posts wait for the row")
        assert answers == {}
    for thread in threads:
        thread.result()
    by_status = {response.status_code: name for name, response in answers.items()}
    assert sorted(by_status) == [200, 302]
    assert f"Bio: was “Old.”, is now “{by_status[302]}”; your value is kept below." in conflict(answers[by_status[200]])
    assert User.objects.get(pk=person.pk).bio == by_status[302]


def test_match__of_two_tabs_with_different_fields() -> None:
    """The later save does not restore values that the earlier save changed, not even when it is repeated."""
    match, client = MatchFactory.create(status="pending"), signed_in(superuser())
    first, second = tab(client, match), tab(client, match)
    assert client.post(change_page(match), first | {"user_action": "accepted"}).status_code == 302
    response = client.post(change_page(match), second | {"matched_user_action": "rejected"})
    assert "User action: was empty, is now “Accepted”; the new value is shown below." in conflict(response)
    assert client.post(change_page(match), fields_of(response)).status_code == 302
    stored = Match.objects.get(pk=match.pk)
    assert (stored.user_action, stored.matched_user_action) == ("accepted", "rejected")


def test_change__video_set_by_another_session() -> None:
    """The form has the foreign key as a UUID."""
    person, client = UserFactory.create(), signed_in(superuser())
    video = VideoFactory.create(user=person)
    posted = tab(client, person) | {"full_name": "New"}
    User.objects.filter(pk=person.pk).update(video=video)
    response = client.post(change_page(person), posted)
    assert f"Video: was empty, is now “{video.pk}”; the new value is shown below." in conflict(response)
    assert client.post(change_page(person), fields_of(response)).status_code == 302
    person.refresh_from_db()
    assert (person.video_id, person.full_name) == (video.pk, "New")


def test_change__of_no_row() -> None:
    address = reverse("admin:videos_video_change", args=[uuid4()])
    assert signed_in(superuser()).post(address, {}).headers["Location"] == reverse("admin:index")
