"""What an officer sees before the approval: counts by table, prefix and collection, and what stays and why."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
from django.core.management import call_command
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from privacy.actions.holds import hold
from privacy.actions.plan_preview import preview_plan
from privacy.models import DataSubjectRequest, Erasure
from privacy.models.holds import Article, Section
from privacy.models.request_choices import Kind, Method
from privacy.requests import steps
from privacy.requests.fulfilment import preview_of_approval
from tests.factories import ProfileEmbeddingFactory
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.collections import live as live
from tests.support.staff import signed_in, superuser
from vectorstore.sync.inline import sync_users

pytestmark = pytest.mark.django_db(transaction=True)

RECORDER, APPROVER = UUID(int=1), UUID(int=2)


def identified(person: User) -> DataSubjectRequest:
    request = steps.record(Kind.ERASURE, user_id=person.pk, actor_id=RECORDER)
    return steps.confirm_identity(request.pk, Method.LOGIN, actor_id=RECORDER)


def lines(person: User) -> list[str]:
    return list(map(str, preview_plan(person.pk)))


def test_preview__by_table_prefix_and_store(shelf: Shelf, settings: Settings, tmp_path: Path) -> None:
    settings.FILE_STORES = {"https://videos.example/": str(tmp_path), "https://videos.example/other/": str(tmp_path)}
    person = full_life()
    shelf.ids.add(person.pk)
    assert lines(person) == [
        "users: 1, deleted",
        "videos: 2, deleted",
        "matches: 2, deleted",
        "video_calls: 2, deleted",
        "vector_sync_queue: 1, kept",
        "vector_import_digests: 1, deleted",
        "files that no store of FILE_STORES has: 2, kept",
        "files below https://videos.example/: 2, deleted",
        "points in the shelf, in the shelf: 1, deleted",
    ]


def test_preview__with_a_hold__names_what_stays_and_why(shelf: Shelf, settings: Settings, tmp_path: Path) -> None:
    settings.FILE_STORES = {"https://videos.example/": str(tmp_path)}
    person = full_life()
    held = hold(person.pk, Section.VIDEOS, Article.LEGAL_CLAIMS)
    reason = f"hold {held.pk}, article 17 (3) (e), until it is released"
    found = lines(person)
    assert {
        f"users (the row stays without the data: {reason}): 1, cleared",
        "videos: 0, deleted",
        f"videos ({reason}): 2, held",
        "matches: 2, deleted",
        "files of held rows: 3, held",
        "points in the shelf: 0, deleted",
    } <= set(found)
    assert not [line for line in found if line.startswith("files below")]


@pytest.mark.parametrize("failure", ["unavailable", "slow"])
def test_preview__store_that_does_not_answer__is_unknown_and_prevents_no_approval(failure: str, shelf: Shelf) -> None:
    person = full_life()
    request = identified(person)
    if failure == "unavailable":
        shelf.reachable = False
    else:
        shelf.answers_after = 1
    assert "points in the shelf, which does not answer: unknown, deleted" in lines(person)
    steps.approve(request.pk, actor_id=APPROVER)
    assert Erasure.objects.get().state == "sealed"
    assert User.objects.get(pk=person.pk).deleted_at is not None


def test_preview__only_before_the_approval_of_an_erasure(shelf: Shelf) -> None:
    person = full_life()
    request = steps.record(Kind.ERASURE, user_id=person.pk, actor_id=RECORDER)
    assert preview_of_approval(request) == []
    request = steps.confirm_identity(request.pk, Method.LOGIN, actor_id=RECORDER)
    assert preview_of_approval(request) == preview_plan(person.pk)
    assert preview_of_approval(steps.approve(request.pk, actor_id=APPROVER)) == []
    access = steps.record(Kind.ACCESS, user_id=person.pk, actor_id=RECORDER)
    assert preview_of_approval(steps.confirm_identity(access.pk, Method.LOGIN, actor_id=RECORDER)) == []


def test_show__and_the_page_of_the_approval(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    request = identified(person)
    call_command("privacy_request", "show", str(request.pk))
    shown = capsys.readouterr().out
    assert "The erasure that you can approve would do this now:\n  users: 1, deleted\n  videos: 2, deleted\n" in shown
    call_command("privacy_request", "show", str(request.pk), "--json")
    document = json.loads(capsys.readouterr().out)
    assert {"what": "points in the shelf, in the shelf", "count": 1, "disposition": "deleted"} in document["preview"]
    shelf.reachable = False
    page = signed_in(superuser()).get(reverse("admin:privacy_datasubjectrequest_step", args=[request.pk, "approve"])).content.decode()
    assert "The erasure that you approve would do this now" in page
    assert "points in the shelf, which does not answer" in page and "unknown" in page
    assert person.email not in shown + page


def test_preview__with_qdrant__names_the_collection(live: str) -> None:
    person = ProfileEmbeddingFactory.create().user
    sync_users([person.pk])
    assert f"points in the vector store, in the collection {live!r}: 1, deleted" in lines(person)
