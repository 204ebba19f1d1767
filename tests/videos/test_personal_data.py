from datetime import UTC, datetime

import pytest

from tests.factories import UserFactory, VideoFactory
from videos.models import Video
from videos.personal_data import Videos

pytestmark = pytest.mark.django_db


def rejected_video() -> Video:
    return VideoFactory.create(status="rejected", rejection_reason="Her name is on the wall.", metadata={"device": "phone"})


def test_export__has_every_column_of_every_video_also_of_deleted_ones() -> None:
    video = rejected_video()
    deleted = VideoFactory.create(user=video.user, deleted=True)
    VideoFactory.create()
    exported = list(Videos().export(video.user_id))
    assert {row["id"] for row in exported} == {video.pk, deleted.pk}
    for row in exported:
        assert row.keys() == {field.column for field in Video._meta.concrete_fields}
    assert exported == list(Video.objects.filter(user=video.user_id).order_by("created_at", "pk").values())


def test_anonymize__field_by_field() -> None:
    video = rejected_video()
    before = dict(Video.objects.values().get())
    Videos().anonymize(video.user_id)
    after = dict(Video.objects.values().get())
    assert after.pop("deleted_at") == after.pop("updated_at")
    assert {name: value for name, value in after.items() if value != before[name]} == {
        "storage_url": "",
        "thumbnail_url": None,
        "rejection_reason": None,
        "metadata": {},
    }


def test_anonymize__keeps_the_time_of_an_earlier_deletion() -> None:
    then = datetime(2025, 1, 1, tzinfo=UTC)
    video = VideoFactory.create(deleted_at=then)
    Videos().anonymize(video.user_id)
    video.refresh_from_db()
    assert video.deleted_at == then


def test_effects__each_file_is_counted_once() -> None:
    person = UserFactory.create()
    VideoFactory.create(user=person)
    VideoFactory.create(user=person, thumbnail_url=None)
    VideoFactory.create(user=person, thumbnail_url="")
    assert [str(line) for line in Videos().after_erasure(person.pk)] == [
        "videos: 3, deleted",
        "video files in the storage that their URLs name: 4, kept",
    ]
    Videos().anonymize(person.pk)
    assert [str(line) for line in Videos().after_anonymization(person.pk)] == [
        "videos (URLs, rejection reasons, metadata): 3, cleared",
        "video files in the storage that their URLs name: 0, kept",
    ]
