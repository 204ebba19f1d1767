"""Search: Qdrant finds candidates and PostgreSQL checks them.

A search over PostgreSQL's rows alone gives the expected result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings
from qdrant_client.models import Distance, PointStruct, VectorParams

from accounts.age import age_on, today
from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.at_length import examples
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.qdrant import QdrantServer
from tests.support.memory import folder_in_memory
from vectorstore.models import ProfileEmbedding, StoreState
from vectorstore.projection.rows import read
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.search import engine as search_module
from vectorstore.search import paging
from vectorstore.search.criteria import Near, Place, SearchQuery
from vectorstore.search.engine import Hit, search, search_many
from vectorstore.search.filter import filter_of
from vectorstore.sync.inline import sync_users
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db

BERLIN, PARIS = (52.52, 13.405), (48.857, 2.352)


def direction(*numbers: float) -> list[float]:
    """Return a vector of 512 numbers that begins with ``numbers``."""
    return [*numbers, *[0.0] * (512 - len(numbers))]


def create_user(*numbers: float, **fields: Any) -> User:
    """Create a user with this vector. ``location`` and ``interests`` belong to the embedding."""
    location = dict(zip(("lat", "lon"), fields.pop("location", BERLIN), strict=True))
    interests = fields.pop("interests", [])
    user = UserFactory.create(**fields)
    ProfileEmbeddingFactory.create(user=user, vector=direction(*numbers), location=location, interests=interests)
    return user


def create_ever_farther(count: int, **fields: Any) -> list[User]:
    """Create users whose vectors are ever farther away from ``direction(1)``."""
    return [create_user(1, (number + 1) / count, **fields) for number in range(count)]


def sync_all() -> None:
    sync_users(ProfileEmbedding.objects.values_list("pk", flat=True))


def years_ago(years: int, *, days: int = 0) -> date:
    """The latest date of birth of a user who is ``years`` old today, and ``days`` later.

    On 29 February that is 28 February where the year of birth has no 29th: a user born on 1 March has a birthday tomorrow.
    """
    now = today()
    latest = now.replace(day=1, year=now.year - years) + timedelta(days=now.day - 1)
    return latest + timedelta(days=days - (latest.month != now.month))


def search_ids(**criteria: Any) -> list[UUID]:
    return [hit.user_id for hit in search(SearchQuery(**({"vector": direction(1)} if "user_id" not in criteria else {}) | criteria))]


def ids(*users: User) -> list[UUID]:
    return [user.pk for user in users]


def test_search__returns_hits_best_first_with_scores(collection: str) -> None:
    near, far, opposite = create_user(3, 0), create_user(1, 1, gender="male", date_of_birth=years_ago(40)), create_user(-1)
    sync_all()
    hits = search(SearchQuery(vector=direction(1)))
    assert [hit.user_id for hit in hits] == ids(near, far, opposite)
    assert [hit.score for hit in hits] == pytest.approx([1, math.sqrt(0.5), -1], abs=1e-6)
    assert hits[1] == Hit(far.pk, hits[1].score, "male", 40)


def test_search__by_user__uses_the_row_and_never_returns_the_user(collection: str) -> None:
    anne, ben, carl = create_user(1), create_user(0, 1), create_user(1, 0.1)
    sync_all()
    ProfileEmbedding.objects.filter(pk=anne.pk).update(vector=direction(0, 2))  # the point still has the old vector
    assert search_ids(user_id=anne.pk) == ids(ben, carl)


def test_search__hidden_users__are_not_returned(collection: str) -> None:
    shown = create_user(1, 3)
    for hidden in ({"inactive": True}, {"unverified": True}, {"staff": True}, {"deleted": True}):
        create_user(1, **hidden)
    sync_all()
    assert search_ids() == ids(shown)


CHANGES = (
    "UPDATE users SET active = false WHERE id = %s",
    "UPDATE users SET verified = false WHERE id = %s",
    "UPDATE users SET is_staff = true WHERE id = %s",
    "UPDATE users SET deleted_at = now() WHERE id = %s",
    "DELETE FROM users WHERE id = %s",
    "DELETE FROM profile_embeddings WHERE user_id = %s",
)


def test_search__changed_since_the_sync__postgresql_decides(collection: str) -> None:
    *gone, shown = create_ever_farther(len(CHANGES) + 1)
    sync_all()
    for user, change in zip(gone, CHANGES, strict=True):
        with connection.cursor() as cursor:
            cursor.execute(change, [user.pk])
        assert user.pk not in search_ids(), change
    assert search_ids() == ids(shown)


def test_search__genders__returns_users_of_these_genders(collection: str) -> None:
    women, men, others = (create_user(1, number, gender=gender) for number, gender in enumerate(("female", "male", "other")))
    sync_all()
    assert search_ids(genders=["female"]) == ids(women)
    assert search_ids(genders=["other", "female"]) == ids(women, others)
    assert search_ids() == ids(women, men, others)
    User.objects.filter(pk=men.pk).update(gender="other")
    assert search_ids(genders=["male"]) == []


def test_search__age__changes_on_the_birthday(collection: str) -> None:
    exactly_30, almost_30, thirty_one = (
        create_user(1, n, date_of_birth=birth_date) for n, birth_date in enumerate((years_ago(30), years_ago(30, days=1), years_ago(31)))
    )
    sync_all()
    assert search_ids(min_age=30) == ids(exactly_30, thirty_one)
    assert search_ids(max_age=30) == ids(exactly_30, almost_30)
    assert search_ids(min_age=30, max_age=30) == ids(exactly_30)
    assert search_ids(min_age=29, max_age=29) == ids(almost_30)


def test_search__age__uses_postgresql_and_not_the_point(collection: str) -> None:
    older, younger = create_user(1, date_of_birth=years_ago(30, days=1)), create_user(1, 1, date_of_birth=years_ago(30))
    sync_all()
    StoreState.objects.update(ages_refreshed_on=today() - timedelta(days=1))  # pretend that the points were written yesterday
    User.objects.filter(pk=older.pk).update(date_of_birth=years_ago(30))
    User.objects.filter(pk=younger.pk).update(date_of_birth=years_ago(30, days=1))
    assert search_ids(min_age=30) == ids(older)
    assert search_ids(max_age=29) == []  # the younger user's point still has the age 30, until the next sync
    sync_all()
    assert search_ids(max_age=29) == ids(younger)


def test_search__near__returns_users_within_the_radius(collection: str) -> None:
    berlin, paris = create_user(1, location=BERLIN), create_user(1, 1, location=PARIS)
    nowhere = create_user(1, 2)
    ProfileEmbedding.objects.filter(pk=nowhere.pk).update(location=None)
    sync_all()
    assert search_ids(near=Near(*BERLIN, 5)) == ids(berlin)
    assert search_ids(near=Near(52.4, 13.0, 50)) == ids(berlin)
    assert search_ids(near=Near(*BERLIN, 1000)) == ids(berlin, paris)
    assert search_ids(near=Near(*BERLIN, 40_000)) == ids(berlin, paris)
    assert search_ids() == ids(berlin, paris, nowhere)


def test_search__near_across_the_date_line_or_a_pole__finds_users(collection: str) -> None:
    fiji, north, south = (create_user(1, n, location=place) for n, place in enumerate(((0, 179.95), (89.95, 0), (-89.99, 10))))
    sync_all()
    assert search_ids(near=Near(0, -179.95, 20)) == ids(fiji)
    assert search_ids(near=Near(89.95, 180, 20)) == ids(north)
    assert search_ids(near=Near(-90, 0, 20)) == ids(south)


def test_search__interests__one_match_is_enough(collection: str) -> None:
    sea, both, neither = (
        create_user(1, interests=["sea"]),
        create_user(1, 1, interests=["books", "sea"]),
        create_user(1, 2, interests=["Sea", "seaside"]),
    )
    sync_all()
    assert search_ids(interests=["sea"]) == ids(sea, both)
    assert search_ids(interests=["books", "chess"]) == ids(both)
    assert search_ids() == ids(sea, both, neither)


def test_search__all_interests__requires_each(collection: str) -> None:
    create_user(1, interests=["sea"])
    both = create_user(1, 1, interests=["books", "chess", "sea"])
    books = create_user(1, 2, interests=["books"])
    sync_all()
    assert search_ids(all_interests=["sea", "books"]) == ids(both)
    assert search_ids(all_interests=["books"], interests=["books", "chess"]) == ids(both, books)
    assert search_ids(all_interests=["books"], interests=["chess"]) == ids(both)
    assert search_ids(all_interests=["sea", "hiking"]) == []


def test_search__interests__are_compared_trimmed_and_normalized(collection: str) -> None:
    by_orm, other_case = create_user(1, interests=["caf\u00e9"]), create_user(1, 1, interests=["CAF\u00c9"])
    by_sql = create_user(1, 2)
    ProfileEmbedding.objects.filter(user=by_sql).update(interests=[" ", "cafe\u0301", " caf\u00e9\n"])
    sync_all()
    for written in ("caf\u00e9", "cafe\u0301", "\tcafe\u0301 "):
        assert search_ids(interests=[written]) == ids(by_orm, by_sql)
        assert search_ids(all_interests=[written]) == ids(by_orm, by_sql)
    assert search_ids(interests=["Caf\u00e9"]) == []
    assert search_ids(interests=["cafe\u0301".upper()]) == ids(other_case)
    assert verify().clean


def test_search__min_score__is_inclusive(collection: str) -> None:
    near, _far = create_user(1, 1), create_user(1, 2)
    sync_all()
    (hit, _) = search(SearchQuery(vector=direction(1)))
    assert search_ids(min_score=hit.score) == ids(near)
    assert search_ids(min_score=float(np.nextafter(np.float32(hit.score), np.float32(1)))) == []
    assert len(search_ids(min_score=-1)) == 2


def test_search__offset__returns_the_next_page(collection: str) -> None:
    users = create_ever_farther(30)
    sync_all()
    assert [search_ids(offset=offset, limit=12) for offset in (0, 12, 24, 36)] == [
        ids(*users[start : start + 12]) for start in (0, 12, 24, 36)
    ]


def test_search__after__pages_stay_complete_when_users_change(collection: str) -> None:
    users = create_ever_farther(30)
    sync_all()
    (*_, last) = search(SearchQuery(vector=direction(1), limit=12))
    User.objects.filter(pk__in=[user.pk for user in users[:5]]).update(active=False)
    create_user(1)  # in front of all
    sync_all()
    assert search_ids(after=last.place, limit=12) == ids(*users[12:24])
    assert search_ids(after=Place.parse(str(last.place)), limit=30) == ids(*users[12:])
    assert search_ids(after=last.place, offset=3, limit=2) == ids(*users[15:17])


def test_search__after_with_equal_scores__pages_are_complete(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "SPARE", 1)
    expected = sorted(ids(*[create_user(1, 1) for _ in range(20)]))
    sync_all()
    pages, after = [], None
    while hits := search(SearchQuery(vector=direction(1), after=after, limit=3)):
        pages += [hit.user_id for hit in hits]
        after = hits[-1].place
    assert pages == expected


def test_search_many__returns_the_same_as_single_searches(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results have the order of the queries, for any criteria, limits and numbers of pages.

    This also holds for more than one request.
    """
    monkeypatch.setattr(paging, "SPARE", 2)
    monkeypatch.setattr(search_module, "BATCH_SIZE", 4)
    monkeypatch.setattr(search_module, "EMBEDDED_BATCH_SIZE", 4)
    users = create_ever_farther(24, gender="male") + create_ever_farther(6, gender="other")
    sync_all()
    User.objects.filter(pk__in=[user.pk for user in users[:10]]).update(active=False)
    queries = [
        SearchQuery(user_id=users[-1].pk, limit=4),
        SearchQuery(vector=direction(1), genders=["other"]),
        SearchQuery(user_id=users[12].pk, limit=20),
        SearchQuery(vector=direction(0, 1), genders=["other"], limit=2),
        SearchQuery(vector=direction(1), min_score=0.99999),
        SearchQuery(user_id=users[-1].pk, exclude=ids(*users[10:22]), limit=3),
    ]
    together = search_many(queries)
    assert [[hit.user_id for hit in hits] for hits in together] == [[hit.user_id for hit in search(query)] for query in queries]
    assert [len(hits) for hits in together] == [4, 6, 19, 2, 0, 3]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many candidates PostgreSQL checks in each page."""
    requested: list[int] = []

    def record_and_read(statement: str, parameters: tuple[str]) -> Any:
        requested.append(len(parameters[0].split(",")))
        return read(statement, parameters)

    monkeypatch.setattr(search_module, "read", record_and_read)
    return requested


def test_search_many__sends_one_query_to_postgresql(collection: str, pages: list[int]) -> None:
    users = create_ever_farther(8)
    sync_all()
    queries = [SearchQuery(user_id=user.pk, limit=2) for user in users]
    with CaptureQueriesContext(connection) as sent:
        search_many(queries)
    assert (len(sent), pages) == (1, [8])  # one query reads the vectors, and one page has the candidates of all users


def test_search_many__no_queries__returns_an_empty_list(collection: str) -> None:
    assert search_many([]) == []


def test_search_many__user_without_embedding__fails(collection: str) -> None:
    embedded, user = create_user(1), UserFactory.create()
    with pytest.raises(UserFacingError, match=rf"^The user '{user.pk}' has no embedding yet"):
        search_many([SearchQuery(user_id=embedded.pk), SearchQuery(user_id=user.pk)])


def test_filter_of__same_criteria_of_different_users__are_equal() -> None:
    """The searching user and a few excluded users are omitted by the search and not by Qdrant."""
    conditions = [filter_of(SearchQuery(user_id=UUID(int=number), exclude=[UUID(int=9)], genders=["male"])) for number in (1, 2)]
    assert conditions[0] == conditions[1]


@pytest.mark.parametrize(("count", "sent"), [(4, False), (5, True), (1000, True), (1001, False)])
def test_filter_of__excluded_users__are_sent_to_qdrant_from_five_to_a_thousand(settings: Settings, count: int, *, sent: bool) -> None:
    settings.QDRANT_URL = "http://127.0.0.1:6333"
    conditions = filter_of(SearchQuery(vector=direction(1), exclude=[UUID(int=number) for number in range(count)]))
    assert (conditions is not None and bool(conditions.must_not)) is sent


def test_filter_of__embedded__contains_no_excluded_users(settings: Settings) -> None:
    """The local mode would compare each excluded id with each point."""
    assert filter_of(SearchQuery(vector=direction(1), exclude=[UUID(int=number) for number in range(500)])) is None


def test_search__embedded_with_excluded_users__needs_one_page(embedded_qdrant: Path, pages: list[int]) -> None:
    initialize()
    users = create_ever_farther(60)
    sync_all()
    assert search_ids(exclude=ids(*users[:50]), limit=5) == ids(*users[50:55])
    assert len(pages) == 1


def test_search__more_excluded_users_than_sent_to_qdrant__fetches_more_candidates(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The excluded users would be first, so the search fetches more candidates."""
    monkeypatch.setattr("vectorstore.search.filter.MAX_EXCLUDED", 10)
    users = create_ever_farther(40)
    sync_all()
    assert search_ids(exclude=ids(*users[:30]), limit=5) == ids(*users[30:35])


@pytest.mark.qdrant_server
@pytest.mark.parametrize("by_grpc", [False, True])
def test_search__point_with_a_vector_of_nan__is_not_returned(
    qdrant_server_grpc: QdrantServer, settings: Settings, *, by_grpc: bool
) -> None:
    """A server stores such a point by gRPC and ranks it first.

    With a score threshold it returns no point after it.
    """
    initialize()
    *shown, nan_user = create_ever_farther(30)
    sync_all()
    payload = {"active": True, "verified": True, "version": 1}
    with qdrant() as client:
        client.upsert(collection_name(), [PointStruct(id=str(nan_user.pk), vector=[math.nan] * 512, payload=payload)], wait=True)
    settings.QDRANT_GRPC_PORT = qdrant_server_grpc.grpc_port if by_grpc else 0
    assert search_ids(limit=1) == ids(shown[0])
    assert search_ids(limit=100) == ids(*shown)
    assert search_ids(limit=1, min_score=-1) == ids(shown[0])
    assert search_ids(limit=100, min_score=-1) == ids(*shown)
    assert search_ids(min_score=1) == []
    queries = [SearchQuery(vector=direction(1), limit=2), SearchQuery(vector=direction(1), min_score=0.5, limit=30)]
    first, second = search_many(queries)
    assert [hit.user_id for hit in first] == ids(*shown[:2])
    assert {hit.user_id for hit in second} == set(ids(*shown))
    assert all(math.isfinite(hit.score) for hit in second)


@pytest.mark.qdrant_server
def test_search__alias__is_checked_again_after_a_while(qdrant_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    initialize()
    checks: list[Any] = []
    monkeypatch.setattr(search_module, "live_collection", checks.append)
    assert [search_ids(), search_ids()] == [[], []]
    assert len(checks) == 1
    monkeypatch.setattr(search_module, "VERIFIED_SECONDS", 0.0)
    search_module.clear_verified()
    assert [search_ids(), search_ids()] == [[], []]
    assert len(checks) == 3


def test_search__exclude__omits_these_users(collection: str) -> None:
    first, second, third = create_ever_farther(3)
    sync_all()
    assert search_ids(exclude=[first.pk], limit=1) == ids(second)
    assert search_ids(user_id=second.pk, exclude=[first.pk]) == ids(third)
    many = [UUID(int=number) for number in range(1, 1500)]  # more ids than Qdrant receives
    assert search_ids(exclude=[*many, first.pk], limit=1) == ids(second)


def test_search__many_candidates_are_hidden__still_fills_the_page(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "SPARE", 2)
    users = create_ever_farther(40)
    sync_all()
    User.objects.filter(pk__in=[user.pk for user in users[:30]]).update(active=False)
    assert search_ids(limit=4) == ids(*users[30:34])
    assert search_ids(limit=10) == ids(*users[30:])
    assert search_ids(limit=100) == ids(*users[30:])


def test_search__sends_one_query_per_page(collection: str, monkeypatch: pytest.MonkeyPatch, pages: list[int]) -> None:
    monkeypatch.setattr(paging, "SPARE", 2)
    users = create_ever_farther(40)
    sync_all()
    with CaptureQueriesContext(connection) as queries:
        assert search_ids(user_id=users[-1].pk, limit=4) == ids(*users[38:34:-1])
    assert (len(queries), pages) == (1, [5])  # the vector, and one page
    User.objects.filter(pk__in=[user.pk for user in users[:30]]).update(verified=False)
    pages.clear()
    with CaptureQueriesContext(connection) as queries:
        assert search_ids(limit=4) == ids(*users[30:34])
    assert (len(queries), pages) == (0, [6, 6, 12, 16])  # the first 6, 12, 24 and 40


def test_search__equal_scores__are_ordered_by_id(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This also holds for more equal scores than a page holds."""
    monkeypatch.setattr(paging, "SPARE", 1)
    best = create_user(2, 1)
    equal = [create_user(1, 1) for _ in range(20)]
    create_user(0, 1)
    sync_all()
    expected = sorted(ids(*equal))
    query = {"vector": direction(2, 1)}
    assert search_ids(**query, limit=5) == [best.pk, *expected[:4]]
    assert search_ids(**query, limit=21) == [best.pk, *expected]


def test_search__empty_collection__returns_no_hits(collection: str) -> None:
    assert search_ids() == []


def test_search__points_without_a_user__are_skipped(collection: str) -> None:
    """Another program wrote them, with numbers as ids."""
    user = create_user(1)
    sync_all()
    with qdrant() as client:
        client.upsert(collection_name(), [PointStruct(id=7, vector=direction(1), payload={"active": True, "verified": True})])
    assert search_ids() == ids(user)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_search__vectors_of_any_length__gives_correct_scores(collection: str, size: float) -> None:
    """As 32-bit numbers their squares would become zero or overflow."""
    near, far = create_user(size, 0), create_user(size, size)
    sync_all()
    hits = search(SearchQuery(vector=direction(size)))
    assert [hit.user_id for hit in hits] == ids(near, far)
    assert [hit.score for hit in hits] == pytest.approx([1, math.sqrt(0.5)], abs=1e-6)


def test_search__user_without_embedding__fails() -> None:
    user = UserFactory.create()
    with pytest.raises(UserFacingError) as raised:
        search_ids(user_id=user.pk)
    assert str(raised.value) == f"The user '{user.pk}' has no embedding yet. Load one with manage.py upsert_embeddings FILE."


def test_search__unknown_user__fails() -> None:
    with pytest.raises(UserFacingError) as raised:
        search_ids(user_id=UUID(int=1))
    assert str(raised.value) == f"PostgreSQL has no user with the id '{UUID(int=1)}'."


def test_search__deleted_user__fails() -> None:
    user = ProfileEmbeddingFactory.create(user__deleted=True).user
    with pytest.raises(UserFacingError) as raised:
        search_ids(user_id=user.pk)
    assert str(raised.value) == f"The user '{user.pk}' is deleted. Search for another user."


def test_search__without_a_collection__fails(store: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"^Qdrant has no collection '.*': make it with manage.py init_qdrant\.$"):
        search_ids()


def test_search__real_collection_under_the_alias_name__fails(store: str) -> None:
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=VectorParams(size=512, distance=Distance.COSINE))
    with pytest.raises(
        StoreUnavailable, match=r"^'.*' is a real collection, but must be an alias\. .* set QDRANT_COLLECTION to another name"
    ):
        search_ids()


# --- Comparison with a search in PostgreSQL ------------------------------------------------------------------------------------------

LOCATIONS = st.sampled_from([BERLIN, PARIS, (52.4, 13.06), (-33.92, 18.42), None])
POPULATION = st.lists(
    st.fixed_dictionaries(
        {
            "vector": st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any),
            "gender": st.sampled_from(["female", "male", "other"]),
            "years": st.integers(18, 21),
            "days": st.sampled_from([-1, 0, 1]),
            "active": st.booleans() | st.just(True),
            "verified": st.booleans() | st.just(True),
            "is_staff": st.sampled_from([False, False, False, True]),
            "deleted": st.sampled_from([False, False, False, True]),
            "stale": st.sampled_from([False, False, True]),
            "place": LOCATIONS,
            "interests": st.lists(st.sampled_from(["sea", "books", "chess"]), max_size=2),
        }
    ),
    max_size=12,
)
CRITERIA: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"vector": st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any), "limit": st.integers(1, 8)},
    optional={
        "genders": st.lists(st.sampled_from(["female", "male", "other"]), max_size=2),
        "min_age": st.integers(17, 20),
        "max_age": st.integers(20, 22),
        "near": st.builds(Near, *map(st.just, BERLIN), st.sampled_from([5, 60, 1500])),
        "interests": st.lists(st.sampled_from(["sea", "books", "chess"]), max_size=2),
        "all_interests": st.lists(st.sampled_from(["sea", "books", "chess"]), max_size=2),
        "min_score": st.sampled_from([-0.5, 0.1, 0.6]),
        "offset": st.integers(0, 3),
    },
)


def kilometers(start: tuple[float, float], end: tuple[float, float]) -> float:
    """Return the distance along a great circle, by the haversine formula."""
    (lat1, lon1), (lat2, lon2) = (map(math.radians, place) for place in (start, end))
    root = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(root))


def matches(embedding: ProfileEmbedding, query: SearchQuery) -> bool:
    user, age = embedding.user, age_on(embedding.user.date_of_birth, today())
    place = embedding.location and (embedding.location["lat"], embedding.location["lon"])
    return (
        (user.active and user.verified and not user.is_staff and user.deleted_at is None)
        and (not query.genders or user.gender in query.genders)
        and (query.min_age is None or age >= query.min_age)
        and (query.max_age is None or age <= query.max_age)
        and (not query.interests or bool(set(query.interests) & set(embedding.interests)))
        and set(query.all_interests) <= set(embedding.interests)
        and (query.near is None or (place is not None and kilometers(place, (query.near.lat, query.near.lon)) <= query.near.km))
    )


def expected_scores(query: SearchQuery) -> dict[UUID, float]:
    matching = [embedding for embedding in ProfileEmbedding.objects.select_related("user") if matches(embedding, query)]
    vector = np.array(query.vector, np.float64)
    scores = {
        embedding.pk: float(np.dot(vector, embedding.vector) / np.linalg.norm(vector) / np.linalg.norm(embedding.vector))
        for embedding in matching
    }
    return {user_id: score for user_id, score in scores.items() if query.min_score is None or score >= query.min_score}


def populate(population: Sequence[dict[str, Any]]) -> None:
    """Create the users. Stale ones become invisible only after their points were written."""
    User.objects.all().delete()
    stale = []
    for entry in population:
        fields = {name: entry[name] for name in ("gender", "active", "verified", "is_staff")}
        user = UserFactory.create(date_of_birth=years_ago(entry["years"], days=entry["days"]), deleted=entry["deleted"], **fields)
        location = entry["place"] and dict(zip(("lat", "lon"), entry["place"], strict=True))
        ProfileEmbeddingFactory.create(user=user, vector=direction(*entry["vector"]), location=location, interests=entry["interests"])
        stale += [user.pk] if entry["stale"] else []
    sync_all()
    User.objects.filter(pk__in=stale).update(active=False)


@pytest.mark.no_cover
@pytest.mark.long
@hypothesis_settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(population=POPULATION, criteria=CRITERIA)
def test_search__embedded__equals_a_search_in_postgresql(
    embedded_qdrant: Path, population: list[dict[str, Any]], criteria: dict[str, Any]
) -> None:
    with pytest.MonkeyPatch.context() as patch, folder_in_memory() as folder:
        patch.setattr("django.conf.settings.QDRANT_PATH", str(folder))
        initialize()
        populate(population)
        compare_with_expected_scores(SearchQuery(**criteria | {"vector": direction(*criteria["vector"])}))


@pytest.mark.no_cover
@pytest.mark.qdrant_server
@hypothesis_settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(population=POPULATION, criteria=CRITERIA)
def test_search__on_a_server__equals_a_search_in_postgresql(
    qdrant_server: Any, population: list[dict[str, Any]], criteria: dict[str, Any]
) -> None:
    initialize()
    populate(population)  # points of earlier examples remain, but their users are deleted
    compare_with_expected_scores(SearchQuery(**criteria | {"vector": direction(*criteria["vector"])}))


def compare_with_expected_scores(query: SearchQuery) -> None:
    hits, scores = search(query), expected_scores(query)
    assert len(hits) == max(min(query.limit, len(scores) - query.offset), 0)
    assert [(hit.user_id, hit.score) for hit in hits] == sorted(
        ((hit.user_id, hit.score) for hit in hits), key=lambda hit: (-hit[1], hit[0])
    )
    assert {hit.user_id: hit.score for hit in hits} == pytest.approx({hit.user_id: scores[hit.user_id] for hit in hits}, abs=1e-5)
    unshown = sorted((scores[user_id] for user_id in scores.keys() - {hit.user_id for hit in hits}), reverse=True)
    assert not hits or all(score >= hits[0].score - 1e-5 for score in unshown[: query.offset])
    assert not hits or all(score <= hits[-1].score + 1e-5 for score in unshown[query.offset :])
