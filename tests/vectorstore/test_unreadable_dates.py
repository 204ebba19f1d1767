"""A user with a date that Python cannot read stops no other user's search, sync or verification.

Only a superuser can store such a date.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.models import User
from tests.factories import ProfileEmbeddingFactory
from tests.schema.rows import ask
from tests.support.staff import signed_in, superuser
from vectorstore.models import QuarantinedUser, QueueEntry, StoreState
from vectorstore.projection.ages import refresh_ages
from vectorstore.queue.entries import backlog
from vectorstore.schema.initialize import initialize
from vectorstore.search.criteria import SearchQuery
from vectorstore.search.engine import search
from vectorstore.status import state
from vectorstore.sync.worker import sync_once
from vectorstore.verification import merge_join
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db

IMPOSSIBLE = ["infinity", "-infinity", "19900-05-01", "0044-03-15 BC"]


@pytest.fixture
def users(dates_unchecked: None, store: str, monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """Users with points."""
    monkeypatch.setattr(merge_join, "WAIT_SECONDS", 0)
    initialize()
    user_ids = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(3 + len(IMPOSSIBLE)))
    sync_once()
    return user_ids


def store_impossible_dates(user_ids: list[UUID], column: str = "date_of_birth") -> list[UUID]:
    """Store impossible dates for some of the users, without a sync. Return the other users."""
    for user_id, text in zip(user_ids, IMPOSSIBLE, strict=False):
        ask(f"UPDATE users SET {column} = %s WHERE id = %s", text, user_id)
    return user_ids[len(IMPOSSIBLE) :]


@pytest.mark.parametrize("criteria", [{}, {"max_age": 150}])
def test_search__unreadable_dates__shows_all_other_users(users: list[UUID], criteria: Any) -> None:
    *others, searcher = store_impossible_dates(users)
    assert sorted(hit.user_id for hit in search(SearchQuery(user_id=searcher, limit=10, **criteria))) == others


def test_search_profiles__unreadable_dates__prints_the_other_users(users: list[UUID], capsys: pytest.CaptureFixture[str]) -> None:
    *others, searcher = store_impossible_dates(users)
    call_command("search_profiles", user=str(searcher), json=True)
    assert sorted(hit["user_id"] for hit in json.loads(capsys.readouterr().out)) == list(map(str, others))


@pytest.mark.parametrize("column", ["date_of_birth", "created_at"])
def test_sync__unreadable_dates__quarantines_only_these_users(users: list[UUID], column: str) -> None:
    others = store_impossible_dates(users, column)
    ask("INSERT INTO vector_sync_queue (user_id) SELECT user_id FROM profile_embeddings")
    sync_once()
    assert sorted(QuarantinedUser.objects.values_list("pk", flat=True)) == users[: len(IMPOSSIBLE)]
    assert sorted(hit.user_id for hit in search(SearchQuery(user_id=others[0], limit=10))) == others[1:]


@pytest.mark.parametrize("column", ["date_of_birth", "created_at"])
def test_verify__unreadable_dates__compares_all_users(users: list[UUID], column: str) -> None:
    store_impossible_dates(users, column)
    ask("UPDATE profile_embeddings SET created_at = 'infinity'")
    assert verify().users == len(users)


def test_refresh_ages__unreadable_dates__queues_the_other_users(users: list[UUID]) -> None:
    others = store_impossible_dates(users)
    QueueEntry.objects.all().delete()
    StoreState.objects.update(ages_refreshed_on=None)
    refresh_ages()
    assert set(others) <= set(QueueEntry.objects.values_list("user_id", flat=True))


@pytest.mark.parametrize("text", ["infinity", "-infinity"])
def test_state__infinite_queue_time__is_shown(users: list[UUID], text: str) -> None:
    ask("INSERT INTO vector_sync_queue (queued_at) VALUES (%s)", text)
    assert (backlog().length, backlog().oldest_seconds, state().oldest_seconds) == (1, None, None)


@pytest.fixture
def client() -> Client:
    return signed_in(superuser())


def test_admin__list_sorted_by_an_unreadable_date__is_shown(users: list[UUID], client: Client) -> None:
    store_impossible_dates(users, "created_at")
    assert client.get("/admin/accounts/user/", {"o": "-6"}).status_code == 200
    assert client.get("/admin/vectorstore/profileembedding/").status_code == 200
    assert User.objects.count() == len(users) + 1
