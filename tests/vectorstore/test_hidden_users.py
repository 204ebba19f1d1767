"""A restricted or objecting user is in no search, in no match and not in Qdrant, for every writer of the columns. The undoing reverts that."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from accounts.models import HIDING_COLUMNS, User
from findme.core.errors import UserFacingError
from privacy.actions.restriction import lift_restriction, restrict, resume_matching, stop_matching
from privacy.local_dates import today
from privacy.models.request_choices import Processing
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.support.staff import errors_of, opened, signed_in, superuser
from tests.vectorstore.retention.unique_points import point, users_without_embedding, write
from vectorstore.models import ProfileEmbedding, QueueEntry
from vectorstore.models.embedding import PROJECTABLE_USER
from vectorstore.schema.initialize import initialize
from vectorstore.search.criteria import SearchQuery
from vectorstore.search.engine import search
from vectorstore.sync.inline import point_of
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db(transaction=True)

VECTOR = [1.0] + [0.0] * 511
SWITCHES = pytest.mark.parametrize(
    ("hide", "show"),
    [(restrict, lambda user_id: lift_restriction(user_id, informed_on=today())), (stop_matching, resume_matching)],
    ids=["restriction", "objection"],
)


def create(count: int, **fields: Any) -> list[UUID]:
    return [ProfileEmbeddingFactory.create(vector=VECTOR, user=UserFactory.create(**fields)).user_id for _ in range(count)]


def found() -> set[UUID]:
    return {hit.user_id for hit in search(SearchQuery(vector=VECTOR, limit=100))}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.at_length), pytest.param(3, marks=pytest.mark.at_length)])
def test_hidden_users__are_in_no_search__no_match__and_not_in_qdrant(collection: str, seed: int) -> None:
    """Change the columns of random users by random writers. PostgreSQL alone decides before the sync, and both stores agree after it."""
    chance = random.Random(seed)  # a fixed seed, no secret
    users = create(12)
    sync_once()
    writers: list[tuple[Callable[[UUID], Any], str, bool]] = [
        (restrict, "restricted_at", True),
        (lambda user_id: lift_restriction(user_id, informed_on=today()), "restricted_at", False),
        (stop_matching, "objected_at", True),
        (resume_matching, "objected_at", False),
        *(
            (lambda user_id, column=column, value=value: by_sql(column, value, user_id), column, value == "now()")
            for column, value in product(HIDING_COLUMNS, ("now()", "NULL"))
        ),
    ]
    hidden: dict[UUID, set[str]] = {user_id: set() for user_id in users}
    for _round in range(3):
        for _change in range(10):
            user_id, (write_change, column, sets) = chance.choice(users), chance.choice(writers)
            write_change(user_id)
            (hidden[user_id].add if sets else hidden[user_id].discard)(column)
        shown = {user_id for user_id, columns in hidden.items() if not columns}
        assert found() <= shown, "before the sync, PostgreSQL decides"
        assert set(User.objects.matchable().values_list("pk", flat=True)) == shown
        sync_once()
        assert found() == shown
        assert {user_id for user_id in users if point_of(user_id) is not None} == shown
        verified = verify()
        assert (verified.users, verified.differing) == (len(shown), 0)
    for user_id in users:
        for column in HIDING_COLUMNS:
            by_sql(column, "NULL", user_id)
    sync_once()
    assert found() == set(users)


def by_sql(column: str, value: str, user_id: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE users SET {column} = {value} WHERE id = %s", [user_id])


def test_projectable__is_one_definition(db: None) -> None:
    for column in HIDING_COLUMNS:
        ProfileEmbeddingFactory.create(user=UserFactory.create(**{column: "2026-01-01T00:00:00Z"}))
    ProfileEmbeddingFactory.create(user__staff=True)
    shown = create(1)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM users WHERE {PROJECTABLE_USER}")
        assert [user_id for (user_id,) in cursor.fetchall()] == shown
    assert list(ProfileEmbedding.objects.projectable().values_list("pk", flat=True)) == shown
    assert list(User.objects.matchable().values_list("pk", flat=True)) == shown


@pytest.mark.parametrize("column", ["restricted_at", "objected_at"])
@pytest.mark.parametrize("value", ["now()", "NULL"])
def test_capture__queues_the_user_as_urgent(column: str, value: str) -> None:
    before = "NULL" if value == "now()" else "now()"
    user_id, _other = create(2)
    by_sql(column, before, user_id)
    QueueEntry.objects.all().delete()
    by_sql(column, value, user_id)
    assert list(QueueEntry.objects.values_list("user_id", "urgent")) == [(user_id, True)]
    QueueEntry.objects.all().delete()
    by_sql(column, value if value == "NULL" else "now() + interval '1 s'", user_id)
    assert not QueueEntry.objects.exists()


@SWITCHES
def test_switch__removes_the_point_at_once__and_the_sync_brings_it_back(collection: str, hide: Any, show: Any) -> None:
    user_id, other = create(2)
    sync_once()
    assert hide(user_id).pending_stores == ()
    assert (point_of(user_id), found()) == (None, {other})
    assert ProfileEmbedding.objects.filter(pk=user_id).exists()
    sync_once()
    assert (point_of(user_id), found()) == (None, {other})
    show(user_id)
    assert found() == {other}
    sync_once()
    assert found() == {user_id, other}


@SWITCHES
def test_switch__killed_between_commit_and_removal__the_sync_removes_the_point(
    collection: str, hide: Any, show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user_id,) = create(1)
    sync_once()

    class Killed(BaseException):
        """The process ends here."""

    def die(_user_id: UUID) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("privacy.actions.restriction.remove_hidden", die)
        with pytest.raises(Killed):
            hide(user_id)
    assert point_of(user_id) is not None
    assert found() == set()
    sync_once()
    assert point_of(user_id) is None


def test_objection_to_the_embedding__deletes_row_and_point_for_good(collection: str) -> None:
    (user_id,) = create(1)
    sync_once()
    stop_matching(user_id, Processing.EMBEDDING)
    assert point_of(user_id) is None
    resume_matching(user_id)
    sync_once()
    assert point_of(user_id) is None
    assert not ProfileEmbedding.objects.filter(pk=user_id).exists()


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("restricted_at", "is restricted, so the data may only be stored"),
        ("objected_at", "objected to searches and matches"),
        ("deleted_at", "is deleted"),
    ],
)
def test_search__does_not_use_the_vector_of_a_hidden_user(collection: str, column: str, reason: str) -> None:
    user_id, _other = create(2)
    sync_once()
    by_sql(column, "now()", user_id)
    with pytest.raises(UserFacingError, match=rf"^The user '{user_id}' {reason}\. Search for another user\.$"):
        search(SearchQuery(user_id=user_id))


def test_restrict__point_with_the_only_copy_of_a_vector__stays_until_it_is_imported(collection: str) -> None:
    """The user has a right that the data stays. No worker deletes the point either, and no search of FindMe shows it."""
    initialize()
    restricted, objecting = users_without_embedding(2)
    write([point(restricted), point(objecting)])
    (pending_store,) = restrict(restricted).pending_stores
    assert "It has the only copy of data of" in pending_store.reason
    assert "manage.py import_embeddings" in pending_store.reason
    assert stop_matching(objecting).pending_stores == ()
    sync_once()
    assert (point_of(restricted) is not None, point_of(objecting)) == (True, None)
    assert found() == set()
    ProfileEmbeddingFactory.create(user_id=restricted, user=User.objects.get(pk=restricted))
    sync_once()
    assert point_of(restricted) is None


def test_match__of_a_hidden_user__is_refused_in_the_admin(db: None) -> None:
    plain, restricted = UserFactory.create(), UserFactory.create(restricted_at="2026-01-01T00:00:00Z")
    client, page = signed_in(superuser()), "/admin/matching/match/add/"
    posted = {"user": plain.pk, "matched_user": restricted.pk, "year": 2026, "week_number": 1, "match_score": "0.5", "status": "pending"}
    response = client.post(page, opened(client, page) | posted | {"expires_at_0": "2026-02-01", "expires_at_1": "00:00:00"})
    assert errors_of(response)["matched_user"] == ["This user is deleted or restricted, or has objected: no match may have the user."]
