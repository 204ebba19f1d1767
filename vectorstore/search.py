"""Search: Qdrant finds candidates, and PostgreSQL has the last word on each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from qdrant_client import QdrantClient, models

from accounts.age import age_on, today
from accounts.models import User
from findme.console.errors import NotDone
from vectorstore.collection import live_collection
from vectorstore.connection import collection_name, is_embedded, qdrant
from vectorstore.search_filter import filter_of
from vectorstore.search_query import SearchQuery
from vectorstore.vectors import Reals, unit, vector

SPARE = 16
"""Candidates beyond the limit: a few whom PostgreSQL takes out, and those who score the same as the last."""
FIRST_PAGE_AT_MOST = 1000


@dataclass(frozen=True, slots=True)
class Hit:
    """A person who was found: the cosine of the two vectors (-1 to 1), and what may be shown of a person who is found."""

    user_id: UUID
    score: float
    gender: str
    age: int


def search(query: SearchQuery) -> list[Hit]:
    """The best first, equal scores in the order of their ids: as many as the limit while there are that many.

    Raises NotDone where the person to search for has no vector or is gone, and where Qdrant cannot be asked.
    """
    direction = unit(_vector(query))
    found: list[Hit] = []
    examined = set(query.never_found)
    with qdrant() as client:
        live_collection(client)  # Qdrant would as soon search somebody else's, of the alias's name or behind it
        for candidates in _pages(client, query, direction):
            fresh = {UUID(point.id): point.score for point in candidates if isinstance(point.id, str)}
            found += _shown({user_id: score for user_id, score in fresh.items() if user_id not in examined}, query)
            examined |= fresh.keys()
            found.sort(key=lambda hit: (-hit.score, hit.user_id))
            if len(found) >= query.limit and candidates[-1].score < found[query.limit - 1].score:
                break
    return found[: query.limit]


def _vector(query: SearchQuery) -> Reals:
    return _vector_of(query.user_id) if query.user_id is not None else vector(query.vector)


def _vector_of(user_id: UUID) -> Reals:
    """The person's vector as PostgreSQL has it now. Raises NotDone."""
    person = User.objects.filter(pk=user_id).values_list("deleted_at", "embedding__vector").first()
    if person is None:
        raise NotDone(f"PostgreSQL knows nobody with the id {str(user_id)!r}.")
    deleted_at, numbers = person
    if deleted_at is not None:
        raise NotDone(f"{str(user_id)!r} is deleted: nobody is searched for them any more.")
    if numbers is None:
        raise NotDone(f"{str(user_id)!r} has no embedding yet: load one with manage.py upsert_embeddings FILE.")
    return vector(numbers)


def _pages(client: QdrantClient, query: SearchQuery, direction: list[float]) -> Iterator[list[models.ScoredPoint]]:
    """Ever longer beginnings of the list of candidates, until there are no more.

    Each begins with the first: a graph that is searched more widely may put others in front, whom a page by offset would pass over. And
    where there seem to be no more, it is asked again without the graph, which need not reach everyone.
    """
    conditions = filter_of(query)
    limit = min(query.limit + SPARE, FIRST_PAGE_AT_MOST)
    exact = is_embedded()  # always, and it warns of one who asks for it
    while True:
        candidates = client.query_points(
            collection_name(),
            query=direction,
            query_filter=conditions,
            search_params=None if is_embedded() else models.SearchParams(exact=exact),
            limit=limit,
            with_payload=False,
        ).points
        exhausted = len(candidates) < limit
        if exhausted and not exact:
            exact = True
            continue
        if candidates:
            yield candidates
        if exhausted:
            return
        limit *= 2


def _shown(scores: Mapping[UUID, float], query: SearchQuery) -> list[Hit]:
    """Those of the candidates who may be shown and are whom the query asks for, as PostgreSQL has it now: one query."""
    rows = User.objects.matchable().filter(pk__in=scores, embedding__isnull=False).values_list("pk", "gender", "date_of_birth")
    day = today()
    people = ((user_id, gender, age_on(born, day)) for user_id, gender, born in rows)
    return [
        Hit(user_id, scores[user_id], gender, age) for user_id, gender, age in people if query.has_gender(gender) and query.has_age(age)
    ]
