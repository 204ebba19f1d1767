"""Messages about refused data of an erased user: in the admin, by ``loaddata`` and by ``upsert_embeddings``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core import serializers
from django.db.models import Q
from django.urls import reverse

from accounts.models import User
from calls.models import VideoCall
from matching.models import Match
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from privacy.actions.undo_erasure import undo_erasures
from privacy.models import ErasedUser
from tests.calls.test_admin import new_call
from tests.factories import MatchFactory, UserFactory, VideoFactory
from tests.matching.test_admin import new_match
from tests.privacy.life import FULL_NAME, full_life
from tests.privacy.shelf import Shelf, install_shelf
from tests.support.commands import manage_here
from tests.support.staff import errors_of, opened, person_form, save, signed_in, superuser
from videos.models import Video

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = "A user of this row was anonymized or permanently deleted: no data of this user can be written."
ROLES = {"user": "caller", "matched_user": "callee"}


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    return install_shelf(monkeypatch)


def test_admin__an_open_page_cannot_restore_a_recording() -> None:
    person, client = full_life(), signed_in(superuser())
    call = VideoCall.objects.filter(Q(caller=person) | Q(callee=person)).first()
    assert call is not None
    address = reverse("admin:calls_videocall_change", args=[call.pk])
    form = opened(client, address) | {"status": call.status, "recording_url": "https://calls.example/quux.webm", "quality_rating": "3"}
    anonymize(person.pk)
    fresh = opened(client, address) | {"status": call.status, "recording_url": "https://calls.example/new.webm"}
    assert client.post(address, form).status_code == 200
    response = client.post(address, fresh)
    assert errors_of(response) == {"__all__": [REFUSED]}
    call.refresh_from_db()
    assert call.recording_url is None


@pytest.mark.parametrize("role", ["user", "matched_user"])
def test_admin__no_new_match_with_an_anonymized_user(role: str) -> None:
    person = full_life()
    anonymize(person.pk)
    before = Match.objects.count()
    response = signed_in(superuser()).post(reverse("admin:matching_match_add"), new_match(**{role: person.pk}))
    assert response.status_code == 200 and Match.objects.count() == before
    assert errors_of(response) == {role: ["This user is deleted or restricted, or has objected: no match may have the user."]}


@pytest.mark.parametrize("role", ["user", "matched_user"])
def test_admin__no_new_call_with_an_anonymized_user(role: str) -> None:
    """The match is from before the erasure. A superuser could add a call with the address of a recording."""
    match = MatchFactory.create()
    anonymize(getattr(match, f"{role}_id"))
    posted = new_call(match, recording_url="https://calls.example/quux.webm")
    response = signed_in(superuser()).post(reverse("admin:calls_videocall_add"), posted)
    assert response.status_code == 200 and not VideoCall.objects.exists()
    assert errors_of(response) == {ROLES[role]: ["This user is deleted or restricted: no new call may have the user."]}


def test_admin__the_address_of_another_anonymized_user_is_reserved() -> None:
    """Otherwise the anonymization of that user would be refused."""
    person, other = UserFactory.create(), UserFactory.create()
    address = reverse("admin:accounts_user_change", args=[person.pk])
    response = save(signed_in(superuser()), address, person_form(person, email=f"deleted_{other.pk}@findme.ai"))
    assert response.status_code == 200
    assert errors_of(response) == {"email": ["This address is reserved for an anonymized user."]}
    assert not User.objects.filter(email__startswith="deleted_").exists()
    anonymize(other.pk)


def test_loaddata__leaves_out_erased_users_and_loads_other_rows(tmp_path: Path) -> None:
    person, other = full_life(), UserFactory.create(full_name="Another User")
    deleted_user = UserFactory.create()
    VideoFactory.create(user=deleted_user)
    every_row = [*User.objects.all(), *Video.objects.all()]
    path = tmp_path / "all.json"
    path.write_text(serializers.serialize("json", every_row))
    anonymize(person.pk)
    erase(deleted_user.pk)
    User.objects.filter(pk=other.pk).update(full_name="Changed meanwhile")
    code, _out, err = manage_here("loaddata", path)
    videos = Video.objects.filter(user=person).count()
    assert code == 1
    assert err.startswith(f"Not loaded: {1 + videos + 2} rows of users who were anonymized or deleted for good, accounts.user ")
    assert err.endswith(" among them. Everything else was loaded.\n")
    assert FULL_NAME not in err
    other.refresh_from_db()
    assert other.full_name == "Another User"
    assert not User.objects.filter(Q(pk=deleted_user.pk) | Q(full_name=FULL_NAME)).exists()
    assert not Video.objects.filter(Q(user=deleted_user.pk) | ~Q(storage_url=""), user_id__in=[person.pk, deleted_user.pk]).exists()
    assert undo_erasures([person.pk, deleted_user.pk, other.pk]) == 2
    code, _out, err = manage_here("loaddata", path)
    assert (code, err) == (0, "")
    assert User.objects.filter(full_name=FULL_NAME).exists()
    assert User.objects.filter(pk=deleted_user.pk).exists()


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_loaddata__leaves_out_rows_that_refer_to_a_deleted_user(tmp_path: Path) -> None:
    deleted_user, other = UserFactory.create(is_staff=True), UserFactory.create()
    kind = ContentType.objects.get_for_model(User)
    entries = [
        LogEntry(pk=number, user=user, content_type=kind, action_flag=CHANGE, action_time=NOW)
        for number, user in enumerate((deleted_user, other), 1)
    ]
    path = tmp_path / "log.json"
    path.write_text(serializers.serialize("json", entries, use_natural_foreign_keys=True))
    erase(deleted_user.pk)
    code, _out, err = manage_here("loaddata", path)
    assert (code, err) == (
        1,
        "Not loaded: 1 row of users who were anonymized or deleted for good, admin.logentry 1 among them. Everything else was loaded.\n",
    )
    assert list(LogEntry.objects.values_list("pk", "user_id")) == [(2, other.pk)]


def test_loaddata__does_not_turn_a_deletion_into_an_anonymization(tmp_path: Path) -> None:
    person = UserFactory.create()
    anonymize(person.pk)
    path = tmp_path / "before.json"
    path.write_text(serializers.serialize("json", [*ErasedUser.objects.all(), *User.objects.all()]))
    erase(person.pk)
    code, _out, err = manage_here("loaddata", path)
    assert (code, err.startswith("Not loaded: 1 row")) == (1, True)
    assert ErasedUser.objects.get().deleted and not User.objects.filter(pk=person.pk).exists()
