from __future__ import annotations

import pytest

from tests.factories import UserFactory, VideoFactory
from videos.models import Video

pytestmark = pytest.mark.django_db


def test_querysets__select_the_right_rows() -> None:
    verified, processing = VideoFactory.create(), VideoFactory.create(status="processing")
    deleted = VideoFactory.create(deleted=True)
    assert set(Video.objects.alive()) == {verified, processing}
    assert set(Video.objects.verified()) == {verified}
    assert set(Video.objects.of(deleted.user)) == {deleted}


def test_defaults__come_from_the_database() -> None:
    video = Video.objects.create(user=UserFactory.create(), storage_url="https://a", duration=1, file_size=1)
    video.refresh_from_db()
    assert (video.status, video.metadata, video.deleted_at) == ("processing", {}, None)
    assert str(video) == str(video.pk)
