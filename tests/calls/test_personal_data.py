import pytest

from accounts.models import User
from calls.models import VideoCall
from calls.personal_data import Calls
from privacy.archive.zip_file import as_json
from privacy.shared_data import LEFT_OUT
from tests.factories import VideoCallFactory

pytestmark = pytest.mark.django_db


def recorded_call() -> VideoCall:
    return VideoCallFactory.create(status="ended", recording_url="https://calls.example.com/1.webm", metadata={"address": "192.0.2.1"})


def test_export__has_every_column_of_calls_on_either_side() -> None:
    call = recorded_call()
    back = VideoCallFactory.create(match=call.match, caller=call.callee, callee=call.caller)
    VideoCallFactory.create()
    for person in (call.caller_id, call.callee_id):
        exported = list(Calls().export(person))
        assert {row["id"] for row in exported} == {call.pk, back.pk}
        for row in exported:
            assert row.keys() == {field.column for field in VideoCall._meta.concrete_fields} - {"recording_url"} | {"has_recording"}
            assert row["has_recording"] == (row["id"] == call.pk)


def test_export__leaves_out_texts_that_name_the_other_user() -> None:
    call = recorded_call()
    User.objects.filter(pk=call.callee_id).update(full_name="Ann-Marie O'Neill", email="am.oneill@example.org")
    kept = {"codec": "vp9", "manners": "channel", "caller": [call.caller.email, call.caller.full_name], "rate": 1.5}
    named = ["Hi Ann!", "AM.ONeill@example.org", f"u/{call.callee_id}", call.callee_id.hex.upper(), "annmarieoneill.jpg", "for MARIE"]
    VideoCall.objects.filter(pk=call.pk).update(session_id=f"s-{call.callee_id}", metadata={**kept, "Ann": 1, "marie": 2, "named": named})
    (row,) = Calls().export(call.caller_id)
    assert row["session_id"] == LEFT_OUT
    assert {name: row["metadata"][name] for name in kept} == kept
    assert sorted(row["metadata"].keys() - kept.keys()) == [LEFT_OUT, f"{LEFT_OUT} (2)", "named"]
    assert all(text.startswith(LEFT_OUT) for text in row["metadata"]["named"])
    (of_callee,) = Calls().export(call.callee_id)
    assert of_callee["metadata"]["named"] == named


def test_export__has_only_the_id_of_the_other_user() -> None:
    call = recorded_call()
    text = as_json(list(Calls().export(call.caller_id)))
    assert str(call.callee_id) in text
    for words in (call.callee.email, call.callee.full_name, call.callee.bio):
        assert str(words) not in text


@pytest.mark.parametrize("side", ["caller_id", "callee_id"])
def test_anonymize__field_by_field(side: str) -> None:
    call = recorded_call()
    before = dict(VideoCall.objects.values().get())
    Calls().anonymize(getattr(call, side))
    after = dict(VideoCall.objects.values().get())
    assert {name: value for name, value in after.items() if value != before[name]} == {
        "session_id": f"deleted_{call.pk}",
        "recording_url": None,
        "metadata": {},
    }


def test_anonymize__again_changes_nothing() -> None:
    call = recorded_call()
    Calls().anonymize(call.caller_id)
    before = list(VideoCall.objects.values())
    Calls().anonymize(call.caller_id)
    assert list(VideoCall.objects.values()) == before


def test_anonymize__keeps_calls_of_other_users() -> None:
    call, other = recorded_call(), recorded_call()
    Calls().anonymize(call.caller_id)
    other.refresh_from_db()
    assert other.recording_url
    assert other.metadata == {"address": "192.0.2.1"}


def test_effects__recordings_are_counted() -> None:
    call = recorded_call()
    VideoCallFactory.create(match=call.match, recording_url="")
    assert [str(line) for line in Calls().after_erasure(call.caller_id)] == [
        "calls: 2, deleted",
        "call recordings in the storage that their URLs name: 1, kept",
    ]
    assert str(Calls().after_anonymization(call.caller_id)[0]) == "calls (session, recording, metadata): 2, cleared"
