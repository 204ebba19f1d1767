from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError

from calls.models import VideoCall
from tests.factories import MatchFactory, UserFactory, VideoCallFactory

pytestmark = pytest.mark.django_db


def test_querysets__select_the_right_rows() -> None:
    calls = {status: VideoCallFactory.create(status=status) for status in VideoCall.Status}
    assert set(VideoCall.objects.ongoing()) == {calls[status] for status in ("initiated", "ringing", "active")}  # type: ignore[index]  # their values
    call = calls[VideoCall.Status.ENDED]
    assert set(VideoCall.objects.of(call.caller)) == set(VideoCall.objects.of(call.callee)) == {call}
    assert str(call) == str(call.pk)


def test_full_clean__either_user_can_be_the_caller() -> None:
    match = MatchFactory.create()
    VideoCallFactory.build(match=match, caller=match.user, callee=match.matched_user).full_clean()
    VideoCallFactory.build(match=match, caller=match.matched_user, callee=match.user).full_clean()


@pytest.mark.parametrize("side", ["caller", "callee"])
def test_full_clean__users_outside_the_match__is_refused(side: str) -> None:
    call = VideoCallFactory.build(match=MatchFactory.create(), **{side: UserFactory.create()})
    with pytest.raises(ValidationError) as caught:
        call.full_clean()
    assert caught.value.message_dict == {"callee": ["The two users of a call must be the users of its match."]}


def test_full_clean__shows_the_error_at_its_field() -> None:
    call = VideoCallFactory.create(status="ended")
    call.ended_at = call.started_at
    call.duration, call.quality_rating, call.status = -1, 6, "nonsense"
    with pytest.raises(ValidationError) as caught:
        call.full_clean()
    assert caught.value.message_dict == {
        "ended_at": ["A call must end after it starts."],
        "duration": ["A duration must be 0 seconds or more."],
        "quality_rating": ["A quality rating is a number from 1 to 5."],
        "status": ["Value 'nonsense' is not a valid choice."],
    }


def test_full_clean__an_ended_call_needs_both_times() -> None:
    call = VideoCallFactory.create(status="active")
    call.status = VideoCall.Status.ENDED
    with pytest.raises(ValidationError) as caught:
        call.full_clean()
    assert caught.value.message_dict == {"ended_at": ["An ended call needs a start time and an end time."]}
    assert call.started_at is not None
    call.ended_at = call.started_at + timedelta(seconds=1)
    call.full_clean()
