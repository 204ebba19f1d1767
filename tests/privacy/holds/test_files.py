"""Files around a hold: those of held rows stay until the hold ends, and all others are deleted at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import User
from privacy.actions.erase import erase, preview_erasure
from privacy.actions.holds import hold, release
from privacy.actions.pending import process_pending
from privacy.actions.plan import plan_erasure
from privacy.declarations import Disposition
from privacy.models import ErasureStep
from privacy.models.holds import Article, Section
from privacy.registry import Effect
from tests.factories import MatchFactory, UserFactory, VideoCallFactory, VideoFactory
from tests.privacy.shelf import Shelf

pytestmark = pytest.mark.django_db(transaction=True)

PREFIX = "https://files.example/"


@pytest.fixture
def files(tmp_path: Path, settings: Settings) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    settings.FILE_STORES = {PREFIX: str(folder)}
    return folder


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def file_in(folder: Path, name: str) -> str:
    (folder / name).write_bytes(b"film")
    return PREFIX + name


def recorded_call(person: User, other: User, folder: Path, name: str) -> None:
    match = MatchFactory.create(user=person, matched_user=other)
    VideoCallFactory.create(match=match, caller=person, callee=other, recording_url=file_in(folder, name))


def test_erasure__hold_of_another_user__keeps_the_files_of_their_calls_only(shelf: Shelf, files: Path) -> None:
    """The row of the other call goes at once. If its file stayed, nothing would lead to it any more."""
    person, holder, other = (UserFactory.create() for _ in range(3))
    recorded_call(person, holder, files, "held.webm")
    recorded_call(person, other, files, "gone.webm")
    held = hold(holder.pk, Section.CALLS, Article.LEGAL_CLAIMS)
    assert plan_erasure(person.pk).counts["files_deleted"] == 1
    erase(person.pk)
    assert names(files) == ["held.webm"]
    step = ErasureStep.objects.get(step="files")
    assert (step.done_at, step.count, step.waits_for) == (None, 1, "hold")
    release(held.pk)
    assert process_pending().completed == 1
    assert names(files) == []
    step.refresh_from_db()
    assert (step.done_at is not None, step.count) == (True, 2)


def test_erasure__file_of_a_held_row_and_another_row__stays(shelf: Shelf, files: Path) -> None:
    person, other = UserFactory.create(), UserFactory.create()
    recorded_call(person, other, files, "film.mp4")
    VideoFactory.create(user=person, storage_url=f"{PREFIX}film.mp4?quality=high", thumbnail_url=None)
    hold(person.pk, Section.VIDEOS, Article.LEGAL_CLAIMS)
    assert plan_erasure(person.pk).counts["files_deleted"] == 0
    erase(person.pk)
    assert names(files) == ["film.mp4"]


def test_preview__names_the_held_files(shelf: Shelf, files: Path) -> None:
    person, holder, other = (UserFactory.create() for _ in range(3))
    recorded_call(person, holder, files, "held.webm")
    recorded_call(person, other, files, "gone.webm")
    held = hold(holder.pk, Section.CALLS, Article.LEGAL_CLAIMS)
    previewed = preview_erasure(person.pk)
    assert Effect("call recordings", 1, Disposition.DELETED) in previewed
    assert Effect(f"call recordings (hold {held.pk}, article 17 (3) (e), until it is released)", 1, Disposition.HELD) in previewed
    assert tuple(previewed) == erase(person.pk).effects
