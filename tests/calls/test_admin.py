from typing import Any

import pytest
from django.urls import reverse

from accounts.models import User
from calls.admin import VideoCallAdmin
from calls.models import VideoCall
from matching.models import Match
from privacy.models.request_choices import State
from tests.factories import MatchFactory, UserFactory, VideoCallFactory, now
from tests.privacy.requests.rows import request_in
from tests.support.staff import errors_of, save, signed_in, superuser
from tests.support.threads import in_thread

LIST = reverse("admin:calls_videocall_changelist")
ADD = reverse("admin:calls_videocall_add")


def new_call(match: Match, **fields: Any) -> dict[str, Any]:
    return {
        "match": match.pk,
        "caller": match.user_id,
        "callee": match.matched_user_id,
        "session_id": "one",
        "status": "initiated",
    } | fields


@pytest.mark.django_db
@pytest.mark.parametrize("by", ["pk", "match_id", "caller_id", "callee_id"])
def test_search__by_uuid(by: str) -> None:
    call = VideoCallFactory.create_batch(3)[1]
    assert list(signed_in(superuser()).get(LIST, {"q": str(getattr(call, by))}).context["cl"].result_list) == [call]


@pytest.mark.django_db
def test_add__either_user_can_be_the_caller() -> None:
    match, client = MatchFactory.create(), signed_in(superuser())
    assert client.post(ADD, new_call(match)).status_code == 302
    back = new_call(match, caller=match.matched_user_id, callee=match.user_id, session_id="two")
    assert client.post(ADD, back).status_code == 302
    assert VideoCall.objects.count() == 2


@pytest.mark.django_db
def test_add__user_outside_the_match__is_refused() -> None:
    response = signed_in(superuser()).post(ADD, new_call(MatchFactory.create(), callee=UserFactory.create().pk))
    assert errors_of(response) == {"callee": ["The two users of a call must be the users of its match."]}


@pytest.mark.django_db
def test_add__session_of_another_call__is_refused() -> None:
    VideoCallFactory.create(session_id="one")
    assert errors_of(signed_in(superuser()).post(ADD, new_call(MatchFactory.create()))) == {
        "session_id": ["Another call has this session."]
    }


@pytest.mark.django_db
def test_change__end_before_start__is_refused() -> None:
    call = VideoCallFactory.create()
    posted = {"status": "ended", "started_at_0": "2026-01-02", "started_at_1": "10:00", "ended_at_0": "2026-01-02", "ended_at_1": "09:00"}
    address, client = reverse("admin:calls_videocall_change", args=[call.pk]), signed_in(superuser())
    assert errors_of(save(client, address, posted)) == {"ended_at": ["A call must end after it starts."]}
    assert save(client, address, posted | {"ended_at_1": "11:00"}).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_add__match_is_replaced_in_between__shows_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the deferred trigger finds it. The message is at the field all the same, and no commit fails."""
    match, other, client = MatchFactory.create(), UserFactory.create(), signed_in(superuser())
    save = VideoCallAdmin.save_model

    def replace() -> None:
        Match.objects.filter(pk=match.pk).delete()
        MatchFactory.create(id=match.pk, user=match.user, matched_user=other)

    def save_model(*args: Any) -> None:
        monkeypatch.setattr(VideoCallAdmin, "save_model", save)
        in_thread(replace).result()
        save(*args)

    monkeypatch.setattr(VideoCallAdmin, "save_model", save_model)
    response = client.post(ADD, new_call(match))
    assert response.status_code == 200 and errors_of(response) == {"callee": ["The two users of a call must be the users of its match."]}
    assert not VideoCall.objects.exists()


@pytest.mark.django_db
def test_add__value_that_postgresql_cannot_store(monkeypatch: pytest.MonkeyPatch) -> None:
    save = VideoCallAdmin.save_model

    def save_model(self: VideoCallAdmin, request: Any, call: VideoCall, *args: Any) -> None:
        call.metadata = {"name": "a\0b"}
        save(self, request, call, *args)

    monkeypatch.setattr(VideoCallAdmin, "save_model", save_model)
    assert errors_of(signed_in(superuser()).post(ADD, new_call(MatchFactory.create()))) == {
        "__all__": ["PostgreSQL cannot store one of these values: it is too large or has a forbidden character. Correct it and save again."]
    }


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["caller", "callee"])
@pytest.mark.parametrize("column", ["deleted_at", "restricted_at"])
def test_add__deleted_or_restricted_user__is_refused(column: str, role: str) -> None:
    posted = new_call(MatchFactory.create())
    User.objects.filter(pk=posted[role]).update(**{column: now()})
    assert errors_of(signed_in(superuser()).post(ADD, posted)) == {
        role: ["This user is deleted or restricted: no new call may have the user."]
    }


@pytest.mark.django_db
def test_add__objecting_user_of_a_match_that_exists() -> None:
    posted = new_call(MatchFactory.create())
    User.objects.filter(pk=posted["caller"]).update(objected_at=now())
    assert signed_in(superuser()).post(ADD, posted).status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["caller", "callee"])
def test_change__of_a_restricted_user__only_for_an_approved_rectification(role: str) -> None:
    call = VideoCallFactory.create()
    person_id = getattr(call, f"{role}_id")
    User.objects.filter(pk=person_id).update(restricted_at=now())
    address, client = reverse("admin:calls_videocall_change", args=[call.pk]), signed_in(superuser())
    assert errors_of(save(client, address, {"status": "missed"})) == {
        "__all__": [
            "A user of this row is restricted: calls of a restricted user can be changed only for their own approved request for a rectification."
        ]
    }
    request_in(State.APPROVED, kind="rectification", user_id=person_id)
    assert save(client, address, {"status": "missed"}).status_code == 302
