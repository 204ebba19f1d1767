"""How a person reads that data of an erased user were refused: in the admin, by ``loaddata``, by ``upsert_embeddings``."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core import serializers
from django.db.models import Q
from django.urls import reverse

from accounts.models import User
from calls.models import VideoCall
from privacy.anonymisation import anonymise
from privacy.erasure import erase
from privacy.registry import registry
from privacy.unerasure import take_erasures_back
from tests.factories import UserFactory, VideoFactory
from tests.findme.processes import manage_here
from tests.privacy.life import FULL_NAME, full_life
from tests.privacy.shelf import Shelf
from tests.staff import errors_of, opened, signed_in, superuser
from videos.models import Video

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = "A user of this row was anonymized or deleted for good: no data of this user can be written."


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf()
    monkeypatch.setattr(registry, "_stores", {shelf.name: shelf})
    return shelf


def test_admin__an_open_page_brings_no_recording_back() -> None:
    person, client = full_life(), signed_in(superuser())
    call = VideoCall.objects.filter(Q(caller=person) | Q(callee=person)).first()
    assert call is not None
    address = reverse("admin:calls_videocall_change", args=[call.pk])
    form = opened(client, address) | {"status": call.status, "recording_url": "https://calls.example/quux.webm", "quality_rating": "3"}
    anonymise(person.pk)
    fresh = opened(client, address) | {"status": call.status, "recording_url": "https://calls.example/new.webm"}
    assert client.post(address, form).status_code == 200
    response = client.post(address, fresh)
    assert errors_of(response) == {"__all__": [REFUSED]}
    call.refresh_from_db()
    assert call.recording_url is None


def test_loaddata__leaves_out_erased_users_and_loads_the_rest(tmp_path: Path) -> None:
    person, other = full_life(), UserFactory.create(full_name="Somebody Else")
    gone = UserFactory.create()
    VideoFactory.create(user=gone)
    every_row = [*User.objects.all(), *Video.objects.all()]
    path = tmp_path / "all.json"
    path.write_text(serializers.serialize("json", every_row))
    anonymise(person.pk)
    erase(gone.pk)
    User.objects.filter(pk=other.pk).update(full_name="Changed meanwhile")
    code, _out, err = manage_here("loaddata", path)
    videos = Video.objects.filter(user=person).count()
    assert code == 1
    assert err.startswith(f"Not loaded: {1 + videos + 2} rows of users who were anonymized or deleted for good, accounts.user ")
    assert err.endswith(" among them. Everything else was loaded.\n")
    assert FULL_NAME not in err
    other.refresh_from_db()
    assert other.full_name == "Somebody Else"
    assert not User.objects.filter(Q(pk=gone.pk) | Q(full_name=FULL_NAME)).exists()
    assert not Video.objects.filter(Q(user=gone.pk) | ~Q(storage_url=""), user_id__in=[person.pk, gone.pk]).exists()
    assert take_erasures_back([person.pk, gone.pk, other.pk]) == 2
    code, _out, err = manage_here("loaddata", path)
    assert (code, err) == (0, "")
    assert User.objects.filter(full_name=FULL_NAME).exists()
    assert User.objects.filter(pk=gone.pk).exists()
