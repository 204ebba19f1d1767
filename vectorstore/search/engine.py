"""Search: Qdrant finds candidates, and PostgreSQL has the last word on each of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import cache
from uuid import UUID

from django.conf import settings
from django.db.models import BooleanField, TextField
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast
from qdrant_client import QdrantClient

from accounts.age import age_on, today
from accounts.models import User
from findme.core.errors import UserFacingError
from findme.core.values.unreadable import Unreadable
from vectorstore.catalog.alias import live_collection
from vectorstore.projection.rows import read
from vectorstore.projection.vectors import Reals, unit, vector
from vectorstore.qdrant.connection import collection_name, is_embedded, qdrant
from vectorstore.qdrant.query import candidates
from vectorstore.search.criteria import SearchQuery
from vectorstore.search.paging import Hit, Search

__all__ = ["Hit", "search", "search_many"]

SEARCHES_AT_A_TIME, EMBEDDED_SEARCHES_AT_A_TIME = 100, 10
"""Of one request: it is to be answered well within QDRANT_TIMEOUT. The embedded store, which takes up to half a second for one, is held for so long."""
PROVEN_SECONDS = 10.0
"""How long it is taken for granted that the alias leads to a collection of ours."""

_proven: dict[tuple[str, str], float] = {}
"""By server and alias: until when, by the monotonic clock."""


def search(query: SearchQuery) -> list[Hit]:
    """The best first, equal scores in the order of their ids: as many as the limit while there are that many.

    Raises UserFacingError where the person to search for has no vector or is gone, and where Qdrant cannot be asked.
    """
    return search_many([query])[0]


def search_many(queries: Sequence[SearchQuery]) -> list[list[Hit]]:
    """For each query what ``search`` gives, in a fraction of the time: many queries go in one request, and PostgreSQL is asked once for all.

    Queries with equal conditions go one after the other, since Qdrant then works out only once who fulfills them. Raises as ``search`` does,
    for the first query that cannot be carried out.
    """
    vectors = _vectors_of([query.user_id for query in queries if query.user_id is not None])
    searches = [Search(query, unit(vectors[query.user_id] if query.user_id is not None else vector(query.vector))) for query in queries]
    together = (
        sorted(searches, key=lambda one: one.conditions.model_dump_json() if one.conditions else "") if len(searches) > 1 else searches
    )
    size = EMBEDDED_SEARCHES_AT_A_TIME if is_embedded() else SEARCHES_AT_A_TIME
    for start in range(0, len(together), size):
        with qdrant() as client:
            _prove(client)
            _carry_out(client, together[start : start + size])
    return [one.hits() for one in searches]


def _carry_out(client: QdrantClient, searches: Sequence[Search]) -> None:
    under_way = list(searches)
    while under_way:
        answers = candidates(client, collection_name(), [one.vector_query() for one in under_way])
        fresh = [one.fresh(points) for one, points in zip(under_way, answers, strict=True)]
        shown = _shown({user_id for scores in fresh for user_id in scores})
        for one, points, scores in zip(under_way, answers, fresh, strict=True):
            one.take(points, scores, shown)
        under_way = [one for one in under_way if not one.done]


def _prove(client: QdrantClient) -> None:
    """Qdrant would as soon search somebody else's collection, of the alias's name or behind it."""
    if is_embedded():
        live_collection(client)
        return
    server = (settings.QDRANT_URL, collection_name())
    if _proven.get(server, 0) < time.monotonic():
        live_collection(client)
        _proven[server] = time.monotonic() + PROVEN_SECONDS


def clear_verified() -> None:
    """Have it proven anew where the alias leads."""
    _proven.clear()


def _shown(user_ids: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Who of the candidates may be shown, with their gender and age, as PostgreSQL has it now: one query.

    A user whose date of birth Python cannot read has no age, and is not shown.
    """
    rows = read(_statement(), ("{" + ",".join(user_ids) + "}",))
    day = today()
    return {user_id: (gender, age_on(born, day)) for user_id, gender, born in rows if not isinstance(born, Unreadable)}


@cache
def _statement() -> str:
    """Written by Django once, and not for every search: that takes as long as PostgreSQL needs for the answer. The look at the embeddings as a join,
    or without its OFFSET, would take PostgreSQL twice as long, most of it for planning."""
    one_of = "users.id = ANY(%s::uuid[]) AND EXISTS (SELECT FROM profile_embeddings WHERE user_id = users.id OFFSET 0)"
    among = RawSQL(one_of, [""], output_field=BooleanField())  # noqa: S611  # a constant
    users = User.objects.matchable().filter(among)
    statement, parameters = users.values_list(Cast("pk", TextField()), "gender", "date_of_birth").query.sql_with_params()
    assert parameters == ("",)
    return str(statement)


def _vectors_of(user_ids: Sequence[UUID]) -> dict[UUID, Reals]:
    """The people's vectors as PostgreSQL has them now: one query. Raises UserFacingError for the first who has none."""
    if not user_ids:
        return {}
    rows = User.objects.filter(pk__in=set(user_ids)).values_list("pk", "deleted_at", "embedding__vector")
    users = {user_id: (deleted_at, numbers) for user_id, deleted_at, numbers in rows}
    for user_id in user_ids:
        if user_id not in users:
            raise UserFacingError(f"PostgreSQL has no user with the id {str(user_id)!r}.")
        deleted_at, numbers = users[user_id]
        if deleted_at is not None:
            raise UserFacingError(f"{str(user_id)!r} is deleted: nobody is searched for them any more.")
        if numbers is None:
            raise UserFacingError(f"{str(user_id)!r} has no embedding yet: load one with manage.py upsert_embeddings FILE.")
    return {user_id: vector(numbers) for user_id, (_, numbers) in users.items()}
