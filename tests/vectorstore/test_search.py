"""Search: what Qdrant finds and PostgreSQL lets through, against a search by hand over PostgreSQL's rows."""

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
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.memory import folder_in_memory
from tests.qdrant import QdrantServer
from vectorstore.models import ProfileEmbedding, StoreState
from vectorstore.projection.rows import read
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.search import engine as search_module
from vectorstore.search import paging as module
from vectorstore.search.criteria import Near, Place, SearchQuery
from vectorstore.search.engine import Hit, search, search_many
from vectorstore.search.filter import filter_of
from vectorstore.sync.inline import sync_users
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db

BERLIN, PARIS = (52.52, 13.405), (48.857, 2.352)


def direction(*numbers: float) -> list[float]:
    """A vector of 512 numbers that begins with these."""
    return [*numbers, *[0.0] * (512 - len(numbers))]


def person(*numbers: float, **fields: Any) -> User:
    """A person with this vector, and a point if they have one; ``location`` and ``interests`` are their embedding's."""
    location = dict(zip(("lat", "lon"), fields.pop("location", BERLIN), strict=True))
    interests = fields.pop("interests", [])
    user = UserFactory.create(**fields)
    ProfileEmbeddingFactory.create(user=user, vector=direction(*numbers), location=location, interests=interests)
    return user


def create_ever_farther(count: int, **fields: Any) -> list[User]:
    """People ever farther away from ``direction(1)``."""
    return [person(1, (number + 1) / count, **fields) for number in range(count)]


def project_all() -> None:
    sync_users(ProfileEmbedding.objects.values_list("pk", flat=True))


def years_ago(years: int, *, days: int = 0) -> date:
    """The latest date of birth of a user who is ``years`` old today, and ``days`` later.

    On 29 February that is 28 February where the year of birth has no 29th: a user born on 1 March has a birthday tomorrow.
    """
    now = today()
    latest = now.replace(day=1, year=now.year - years) + timedelta(days=now.day - 1)
    return latest + timedelta(days=days - (latest.month != now.month))


def found(**criteria: Any) -> list[UUID]:
    return [hit.user_id for hit in search(SearchQuery(**({"vector": direction(1)} if "user_id" not in criteria else {}) | criteria))]


def ids(*users: User) -> list[UUID]:
    return [user.pk for user in users]


def test_search__best_first_with_scores(collection: str) -> None:
    near, far, opposite = person(3, 0), person(1, 1, gender="male", date_of_birth=years_ago(40)), person(-1)
    project_all()
    hits = search(SearchQuery(vector=direction(1)))
    assert [hit.user_id for hit in hits] == ids(near, far, opposite)
    assert [hit.score for hit in hits] == pytest.approx([1, math.sqrt(0.5), -1], abs=1e-6)
    assert hits[1] == Hit(far.pk, hits[1].score, "male", 40)


def test_search__by_a_person_takes_their_row_and_never_finds_them(collection: str) -> None:
    anne, ben, carl = person(1), person(0, 1), person(1, 0.1)
    project_all()
    ProfileEmbedding.objects.filter(pk=anne.pk).update(vector=direction(0, 2))  # the point still says otherwise
    assert found(user_id=anne.pk) == ids(ben, carl)


def test_search__never_whom_qdrant_says_may_not_be_shown(collection: str) -> None:
    shown = person(1, 3)
    for hidden in ({"inactive": True}, {"unverified": True}, {"staff": True}, {"deleted": True}):
        person(1, **hidden)
    project_all()
    assert found() == ids(shown)


CHANGES = (
    "UPDATE users SET active = false WHERE id = %s",
    "UPDATE users SET verified = false WHERE id = %s",
    "UPDATE users SET is_staff = true WHERE id = %s",
    "UPDATE users SET deleted_at = now() WHERE id = %s",
    "DELETE FROM users WHERE id = %s",
    "DELETE FROM profile_embeddings WHERE user_id = %s",
)


def test_search__postgresql_has_the_last_word(collection: str) -> None:
    *gone, shown = create_ever_farther(len(CHANGES) + 1)
    project_all()
    for user, change in zip(gone, CHANGES, strict=True):
        with connection.cursor() as cursor:
            cursor.execute(change, [user.pk])
        assert user.pk not in found(), change
    assert found() == ids(shown)


def test_search__gender(collection: str) -> None:
    women, men, others = (person(1, number, gender=gender) for number, gender in enumerate(("female", "male", "other")))
    project_all()
    assert found(genders=["female"]) == ids(women)
    assert found(genders=["other", "female"]) == ids(women, others)
    assert found() == ids(women, men, others)
    User.objects.filter(pk=men.pk).update(gender="other")
    assert found(genders=["male"]) == []


def test_search__age_on_the_birthday_and_the_day_before(collection: str) -> None:
    thirty, not_yet, thirty_one = (
        person(1, n, date_of_birth=born) for n, born in enumerate((years_ago(30), years_ago(30, days=1), years_ago(31)))
    )
    project_all()
    assert found(min_age=30) == ids(thirty, thirty_one)
    assert found(max_age=30) == ids(thirty, not_yet)
    assert found(min_age=30, max_age=30) == ids(thirty)
    assert found(min_age=29, max_age=29) == ids(not_yet)


def test_search__age_in_postgresql_counts_and_not_the_age_of_the_point(collection: str) -> None:
    older, younger = person(1, date_of_birth=years_ago(30, days=1)), person(1, 1, date_of_birth=years_ago(30))
    project_all()
    StoreState.objects.update(ages_refreshed_on=today() - timedelta(days=1))  # as if a day had passed since the points were written
    User.objects.filter(pk=older.pk).update(date_of_birth=years_ago(30))
    User.objects.filter(pk=younger.pk).update(date_of_birth=years_ago(30, days=1))
    assert found(min_age=30) == ids(older)
    assert found(max_age=29) == []  # the point of the younger says 30: one sync mends it
    project_all()
    assert found(max_age=29) == ids(younger)


def test_search__near(collection: str) -> None:
    here, there = person(1, location=BERLIN), person(1, 1, location=PARIS)
    nowhere = person(1, 2)
    ProfileEmbedding.objects.filter(pk=nowhere.pk).update(location=None)
    project_all()
    assert found(near=Near(*BERLIN, 5)) == ids(here)
    assert found(near=Near(52.4, 13.0, 50)) == ids(here)
    assert found(near=Near(*BERLIN, 1000)) == ids(here, there)
    assert found(near=Near(*BERLIN, 40_000)) == ids(here, there)
    assert found() == ids(here, there, nowhere)


def test_search__near_across_the_date_line_and_the_poles(collection: str) -> None:
    fiji, north, south = (person(1, n, location=place) for n, place in enumerate(((0, 179.95), (89.95, 0), (-89.99, 10))))
    project_all()
    assert found(near=Near(0, -179.95, 20)) == ids(fiji)
    assert found(near=Near(89.95, 180, 20)) == ids(north)
    assert found(near=Near(-90, 0, 20)) == ids(south)


def test_search__interests_one_is_enough(collection: str) -> None:
    sea, both, neither = person(1, interests=["sea"]), person(1, 1, interests=["books", "sea"]), person(1, 2, interests=["Sea", "seaside"])
    project_all()
    assert found(interests=["sea"]) == ids(sea, both)
    assert found(interests=["books", "chess"]) == ids(both)
    assert found() == ids(sea, both, neither)


def test_search__interests_that_each_is_required(collection: str) -> None:
    person(1, interests=["sea"])
    both = person(1, 1, interests=["books", "chess", "sea"])
    books = person(1, 2, interests=["books"])
    project_all()
    assert found(all_interests=["sea", "books"]) == ids(both)
    assert found(all_interests=["books"], interests=["books", "chess"]) == ids(both, books)
    assert found(all_interests=["books"], interests=["chess"]) == ids(both)
    assert found(all_interests=["sea", "hiking"]) == []


def test_search__interests_are_found_however_they_were_written(collection: str) -> None:
    by_orm, other_case = person(1, interests=["caf\u00e9"]), person(1, 1, interests=["CAF\u00c9"])
    by_sql = person(1, 2)
    ProfileEmbedding.objects.filter(user=by_sql).update(interests=[" ", "cafe\u0301", " caf\u00e9\n"])
    project_all()
    for written in ("caf\u00e9", "cafe\u0301", "\tcafe\u0301 "):
        assert found(interests=[written]) == ids(by_orm, by_sql)
        assert found(all_interests=[written]) == ids(by_orm, by_sql)
    assert found(interests=["Caf\u00e9"]) == []
    assert found(interests=["cafe\u0301".upper()]) == ids(other_case)
    assert verify().clean


def test_search__least_score_is_included(collection: str) -> None:
    near, _far = person(1, 1), person(1, 2)
    project_all()
    (hit, _) = search(SearchQuery(vector=direction(1)))
    assert found(min_score=hit.score) == ids(near)
    assert found(min_score=float(np.nextafter(np.float32(hit.score), np.float32(1)))) == []
    assert len(found(min_score=-1)) == 2


def test_search__pages_by_offset(collection: str) -> None:
    users = create_ever_farther(30)
    project_all()
    assert [found(offset=offset, limit=12) for offset in (0, 12, 24, 36)] == [ids(*users[start : start + 12]) for start in (0, 12, 24, 36)]


def test_search__pages_after_a_place_stay_whole_whoever_comes_and_goes(collection: str) -> None:
    users = create_ever_farther(30)
    project_all()
    (*_, last) = search(SearchQuery(vector=direction(1), limit=12))
    User.objects.filter(pk__in=[user.pk for user in users[:5]]).update(active=False)
    person(1)  # in front of all
    project_all()
    assert found(after=last.place, limit=12) == ids(*users[12:24])
    assert found(after=Place.parse(str(last.place)), limit=30) == ids(*users[12:])
    assert found(after=last.place, offset=3, limit=2) == ids(*users[15:17])


def test_search__pages_of_equal_scores(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE", 1)
    expected = sorted(ids(*[person(1, 1) for _ in range(20)]))
    project_all()
    pages, after = [], None
    while hits := search(SearchQuery(vector=direction(1), after=after, limit=3)):
        pages += [hit.user_id for hit in hits]
        after = hits[-1].place
    assert pages == expected


def test_search_many__as_one_by_one(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their conditions, limits and numbers of pages, in the order of the queries, and also beyond one request."""
    monkeypatch.setattr(module, "SPARE", 2)
    monkeypatch.setattr(search_module, "BATCH_SIZE", 4)
    monkeypatch.setattr(search_module, "EMBEDDED_BATCH_SIZE", 4)
    users = create_ever_farther(24, gender="male") + create_ever_farther(6, gender="other")
    project_all()
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
    """How many candidates PostgreSQL is asked about, page by page."""
    asked: list[int] = []

    def noting(statement: str, parameters: tuple[str]) -> Any:
        asked.append(len(parameters[0].split(",")))
        return read(statement, parameters)

    monkeypatch.setattr(search_module, "read", noting)
    return asked


def test_search_many__one_query_of_postgresql_for_all(collection: str, pages: list[int]) -> None:
    users = create_ever_farther(8)
    project_all()
    queries = [SearchQuery(user_id=user.pk, limit=2) for user in users]
    with CaptureQueriesContext(connection) as asked:
        search_many(queries)
    assert (len(asked), pages) == (1, [8])  # the vectors, and one page of everybody's


def test_search_many__nothing(collection: str) -> None:
    assert search_many([]) == []


def test_search_many__one_who_has_no_embedding(collection: str) -> None:
    embedded, user = person(1), UserFactory.create()
    with pytest.raises(UserFacingError, match=rf"^The user '{user.pk}' has no embedding yet"):
        search_many([SearchQuery(user_id=embedded.pk), SearchQuery(user_id=user.pk)])


def test_search__equal_conditions_of_different_people_share_work() -> None:
    """The person themself and a few excluded are left out here, and not in Qdrant."""
    conditions = [filter_of(SearchQuery(user_id=UUID(int=number), exclude=[UUID(int=9)], genders=["male"])) for number in (1, 2)]
    assert conditions[0] == conditions[1]


@pytest.mark.parametrize(("count", "reported"), [(4, False), (5, True), (1000, True), (1001, False)])
def test_search__many_excluded_are_left_out_in_qdrant_up_to_a_thousand(settings: Settings, count: int, *, reported: bool) -> None:
    settings.QDRANT_URL = "http://127.0.0.1:6333"
    conditions = filter_of(SearchQuery(vector=direction(1), exclude=[UUID(int=number) for number in range(count)]))
    assert (conditions is not None and bool(conditions.must_not)) is reported


def test_search__embedded_is_not_told_whom_to_leave_out(settings: Settings) -> None:
    """It would compare each of them with each of its points."""
    assert filter_of(SearchQuery(vector=direction(1), exclude=[UUID(int=number) for number in range(500)])) is None


def test_search__embedded_finds_a_page_at_once_whoever_is_left_out(embedded_qdrant: Path, pages: list[int]) -> None:
    initialize()
    users = create_ever_farther(60)
    project_all()
    assert found(exclude=ids(*users[:50]), limit=5) == ids(*users[50:55])
    assert len(pages) == 1


def test_search__excluded_beyond_what_qdrant_is_reported(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of those who would be first: more candidates are fetched."""
    monkeypatch.setattr("vectorstore.search.filter.MAX_EXCLUDED", 10)
    users = create_ever_farther(40)
    project_all()
    assert found(exclude=ids(*users[:30]), limit=5) == ids(*users[30:35])


@pytest.mark.qdrant_server
@pytest.mark.parametrize("by_grpc", [False, True])
def test_search__a_vector_of_nan_is_like_nobody(qdrant_server_grpc: QdrantServer, settings: Settings, *, by_grpc: bool) -> None:
    """A server stores it by gRPC, and puts it before all others; told of a least score, it finds nobody behind it."""
    initialize()
    *shown, odd = create_ever_farther(30)
    project_all()
    payload = {"active": True, "verified": True, "version": 1}
    with qdrant() as client:
        client.upsert(collection_name(), [PointStruct(id=str(odd.pk), vector=[math.nan] * 512, payload=payload)], wait=True)
    settings.QDRANT_GRPC_PORT = qdrant_server_grpc.grpc_port if by_grpc else 0
    assert found(limit=1) == ids(shown[0])
    assert found(limit=100) == ids(*shown)
    assert found(limit=1, min_score=-1) == ids(shown[0])
    assert found(limit=100, min_score=-1) == ids(*shown)
    assert found(min_score=1) == []
    queries = [SearchQuery(vector=direction(1), limit=2), SearchQuery(vector=direction(1), min_score=0.5, limit=30)]
    first, second = search_many(queries)
    assert [hit.user_id for hit in first] == ids(*shown[:2])
    assert {hit.user_id for hit in second} == set(ids(*shown))
    assert all(math.isfinite(hit.score) for hit in second)


@pytest.mark.qdrant_server
def test_search__where_the_alias_leads_is_asked_now_and_then(qdrant_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    initialize()
    asked: list[Any] = []
    monkeypatch.setattr(search_module, "live_collection", asked.append)
    assert [found(), found()] == [[], []]
    assert len(asked) == 1
    monkeypatch.setattr(search_module, "VERIFIED_SECONDS", 0.0)
    search_module.clear_verified()
    assert [found(), found()] == [[], []]
    assert len(asked) == 3


def test_search__excluded(collection: str) -> None:
    first, second, third = create_ever_farther(3)
    project_all()
    assert found(exclude=[first.pk], limit=1) == ids(second)
    assert found(user_id=second.pk, exclude=[first.pk]) == ids(third)
    many = [UUID(int=number) for number in range(1, 1500)]  # more than Qdrant is handed
    assert found(exclude=[*many, first.pk], limit=1) == ids(second)


def test_search__as_many_as_asked_for_behind_many_who_are_gone(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE", 2)
    users = create_ever_farther(40)
    project_all()
    User.objects.filter(pk__in=[user.pk for user in users[:30]]).update(active=False)
    assert found(limit=4) == ids(*users[30:34])
    assert found(limit=10) == ids(*users[30:])
    assert found(limit=100) == ids(*users[30:])


def test_search__one_query_a_page(collection: str, monkeypatch: pytest.MonkeyPatch, pages: list[int]) -> None:
    monkeypatch.setattr(module, "SPARE", 2)
    users = create_ever_farther(40)
    project_all()
    with CaptureQueriesContext(connection) as queries:
        assert found(user_id=users[-1].pk, limit=4) == ids(*users[38:34:-1])
    assert (len(queries), pages) == (1, [5])  # the vector, and one page
    User.objects.filter(pk__in=[user.pk for user in users[:30]]).update(verified=False)
    pages.clear()
    with CaptureQueriesContext(connection) as queries:
        assert found(limit=4) == ids(*users[30:34])
    assert (len(queries), pages) == (0, [6, 6, 12, 16])  # the first 6, 12, 24 and 40


def test_search__equal_scores_in_the_order_of_the_ids(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are more of them than a page holds."""
    monkeypatch.setattr(module, "SPARE", 1)
    best = person(2, 1)
    equal = [person(1, 1) for _ in range(20)]
    person(0, 1)
    project_all()
    expected = sorted(ids(*equal))
    query = {"vector": direction(2, 1)}
    assert found(**query, limit=5) == [best.pk, *expected[:4]]
    assert found(**query, limit=21) == [best.pk, *expected]


def test_search__nobody(collection: str) -> None:
    assert found() == []


def test_search__points_that_are_no_person_are_passed_over(collection: str) -> None:
    """Another program's, with numbers for ids."""
    user = person(1)
    project_all()
    with qdrant() as client:
        client.upsert(collection_name(), [PointStruct(id=7, vector=direction(1), payload={"active": True, "verified": True})])
    assert found() == ids(user)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_search__vectors_of_any_length(collection: str, size: float) -> None:
    """In 32 bits their squares would vanish or overflow."""
    near, far = person(size, 0), person(size, size)
    project_all()
    hits = search(SearchQuery(vector=direction(size)))
    assert [hit.user_id for hit in hits] == ids(near, far)
    assert [hit.score for hit in hits] == pytest.approx([1, math.sqrt(0.5)], abs=1e-6)


def test_search__person_without_an_embedding() -> None:
    user = UserFactory.create()
    with pytest.raises(UserFacingError) as raised:
        found(user_id=user.pk)
    assert str(raised.value) == f"The user '{user.pk}' has no embedding yet. Load one with manage.py upsert_embeddings FILE."


def test_search__person_who_is_unknown() -> None:
    with pytest.raises(UserFacingError) as raised:
        found(user_id=UUID(int=1))
    assert str(raised.value) == f"PostgreSQL has no user with the id '{UUID(int=1)}'."


def test_search__person_who_is_deleted() -> None:
    user = ProfileEmbeddingFactory.create(user__deleted=True).user
    with pytest.raises(UserFacingError) as raised:
        found(user_id=user.pk)
    assert str(raised.value) == f"The user '{user.pk}' is deleted. Search for another user."


def test_search__no_collection_yet(store: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"^Qdrant has no collection '.*': make it with manage.py init_qdrant\.$"):
        found()


def test_search__a_real_collection_of_the_aliass_name_is_not_searched(store: str) -> None:
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=VectorParams(size=512, distance=Distance.COSINE))
    with pytest.raises(
        StoreUnavailable, match=r"^'.*' is a real collection, but must be an alias\. .* set QDRANT_COLLECTION to another name"
    ):
        found()


# --- against a search by hand ---------------------------------------------------------------------------------------------------------

PLACES = st.sampled_from([BERLIN, PARIS, (52.4, 13.06), (-33.92, 18.42), None])
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
            "place": PLACES,
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


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Along a great circle, by the haversine formula."""
    (lat1, lon1), (lat2, lon2) = (map(math.radians, place) for place in (one, other))
    root = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(root))


def is_wanted(embedding: ProfileEmbedding, query: SearchQuery) -> bool:
    user, age = embedding.user, age_on(embedding.user.date_of_birth, today())
    place = embedding.location and (embedding.location["lat"], embedding.location["lon"])
    return (
        (user.active and user.verified and not user.is_staff and user.deleted_at is None)
        and (not query.genders or user.gender in query.genders)
        and (query.min_age is None or age >= query.min_age)
        and (query.max_age is None or age <= query.max_age)
        and (not query.interests or bool(set(query.interests) & set(embedding.interests)))
        and set(query.all_interests) <= set(embedding.interests)
        and (query.near is None or (place is not None and kilometres(place, (query.near.lat, query.near.lon)) <= query.near.km))
    )


def scores_by_hand(query: SearchQuery) -> dict[UUID, float]:
    wanted = [embedding for embedding in ProfileEmbedding.objects.select_related("user") if is_wanted(embedding, query)]
    asked = np.array(query.vector, np.float64)
    scores = {
        embedding.pk: float(np.dot(asked, embedding.vector) / np.linalg.norm(asked) / np.linalg.norm(embedding.vector))
        for embedding in wanted
    }
    return {user_id: score for user_id, score in scores.items() if query.min_score is None or score >= query.min_score}


def populate(population: Sequence[dict[str, Any]]) -> None:
    """The people; the stale ones become invisible only after their points were written."""
    User.objects.all().delete()
    stale = []
    for one in population:
        fields = {name: one[name] for name in ("gender", "active", "verified", "is_staff")}
        user = UserFactory.create(date_of_birth=years_ago(one["years"], days=one["days"]), deleted=one["deleted"], **fields)
        location = one["place"] and dict(zip(("lat", "lon"), one["place"], strict=True))
        ProfileEmbeddingFactory.create(user=user, vector=direction(*one["vector"]), location=location, interests=one["interests"])
        stale += [user.pk] if one["stale"] else []
    project_all()
    User.objects.filter(pk__in=stale).update(active=False)


@pytest.mark.no_cover
@pytest.mark.long
@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(population=POPULATION, criteria=CRITERIA)
def test_search__equals_a_search_by_hand(embedded_qdrant: Path, population: list[dict[str, Any]], criteria: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch, folder_in_memory() as folder:
        patch.setattr("django.conf.settings.QDRANT_PATH", str(folder))
        initialize()
        populate(population)
        compare_with_a_search_by_hand(SearchQuery(**criteria | {"vector": direction(*criteria["vector"])}))


@pytest.mark.no_cover
@pytest.mark.qdrant_server
@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(population=POPULATION, criteria=CRITERIA)
def test_search__equals_a_search_by_hand_on_a_server(
    qdrant_server: Any, population: list[dict[str, Any]], criteria: dict[str, Any]
) -> None:
    initialize()
    populate(population)  # the points of the examples before are left: their people are gone
    compare_with_a_search_by_hand(SearchQuery(**criteria | {"vector": direction(*criteria["vector"])}))


def compare_with_a_search_by_hand(query: SearchQuery) -> None:
    hits, scores = search(query), scores_by_hand(query)
    assert len(hits) == max(min(query.limit, len(scores) - query.offset), 0)
    assert [(hit.user_id, hit.score) for hit in hits] == sorted(
        ((hit.user_id, hit.score) for hit in hits), key=lambda hit: (-hit[1], hit[0])
    )
    assert {hit.user_id: hit.score for hit in hits} == pytest.approx({hit.user_id: scores[hit.user_id] for hit in hits}, abs=1e-5)
    left = sorted((scores[user_id] for user_id in scores.keys() - {hit.user_id for hit in hits}), reverse=True)
    assert not hits or all(score >= hits[0].score - 1e-5 for score in left[: query.offset])
    assert not hits or all(score <= hits[-1].score + 1e-5 for score in left[query.offset :])
