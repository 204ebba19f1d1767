"""Search: Qdrant finds candidates, and PostgreSQL decides on each of them."""

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
from accounts.models import HIDING_COLUMNS, User
from findme.core.errors import UserFacingError
from findme.core.values.unreadable import Unreadable
from privacy.ledger.gate import GATE
from vectorstore.catalog.alias import live_collection
from vectorstore.projection.rows import read
from vectorstore.projection.vectors import Reals, unit, vector
from vectorstore.qdrant.connection import collection_name, is_embedded, qdrant
from vectorstore.qdrant.query import candidates
from vectorstore.search.criteria import SearchQuery
from vectorstore.search.paging import Hit, Search

__all__ = ["Hit", "search", "search_many"]

BATCH_SIZE, EMBEDDED_BATCH_SIZE = 100, 10
"""Searches of one request. Its answer must arrive well within QDRANT_TIMEOUT.

The embedded store takes up to half a second for a search and is locked for the whole request.
"""
HIDING_REASONS = ("is deleted", "is restricted, so the data may only be stored", "objected to searches and matches")
"""Why no search starts from the vector of a user, by the column of ``HIDING_COLUMNS``."""
VERIFIED_SECONDS = 10.0
"""How long a check of the alias's target remains valid."""

_verified_until: dict[tuple[str, str], float] = {}
"""Time of the monotonic clock, by server and alias."""


def search(query: SearchQuery) -> list[Hit]:
    """Return the hits, best first, equal scores in the order of the ids. There are fewer than ``limit`` only if no more users match.

    Raises UserFacingError if the user to search for is unknown, is deleted, is restricted, has objected or has no vector, and if Qdrant does not answer.
    """
    return search_many([query])[0]


def search_many(queries: Sequence[SearchQuery]) -> list[list[Hit]]:
    """Return the hits of each query as ``search`` does, but faster: one request holds many queries, and one statement reads all vectors.

    Queries with equal conditions are sent consecutively, because Qdrant then evaluates the filter once. Raises as ``search`` does, for the first
    query that fails. Raises LedgerBehind while erased users may be back after a restore.
    """
    GATE.require_current()
    vectors = _vectors_of([query.user_id for query in queries if query.user_id is not None])
    searches = [Search(query, unit(vectors[query.user_id] if query.user_id is not None else vector(query.vector))) for query in queries]
    ordered = (
        sorted(searches, key=lambda one: one.conditions.model_dump_json() if one.conditions else "") if len(searches) > 1 else searches
    )
    size = EMBEDDED_BATCH_SIZE if is_embedded() else BATCH_SIZE
    for start in range(0, len(ordered), size):
        with qdrant() as client:
            _check_alias_target(client)
            _carry_out(client, ordered[start : start + size])
    return [one.hits() for one in searches]


def _carry_out(client: QdrantClient, searches: Sequence[Search]) -> None:
    running = list(searches)
    while running:
        answers = candidates(client, collection_name(), [one.vector_query() for one in running])
        fresh = [one.fresh(points) for one, points in zip(running, answers, strict=True)]
        shown = _shown({user_id for scores in fresh for user_id in scores})
        for one, points, scores in zip(running, answers, fresh, strict=True):
            one.take(points, scores, shown)
        running = [one for one in running if not one.done]


def _check_alias_target(client: QdrantClient) -> None:
    """Raise unless the alias points to a collection of this database. Qdrant would search any collection of that name."""
    if is_embedded():
        live_collection(client)
        return
    server = (settings.QDRANT_URL, collection_name())
    if _verified_until.get(server, 0) < time.monotonic():
        live_collection(client)
        _verified_until[server] = time.monotonic() + VERIFIED_SECONDS


def clear_verified() -> None:
    """Check the alias's target again before the next search."""
    _verified_until.clear()


def _shown(user_ids: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Return gender and age of the candidates that may be shown, as PostgreSQL has them now. Takes one statement.

    A user whose date of birth Python cannot read has no age and is not shown.
    """
    rows = read(_statement(), ("{" + ",".join(user_ids) + "}",))
    day = today()
    return {user_id: (gender, age_on(born, day)) for user_id, gender, born in rows if not isinstance(born, Unreadable)}


@cache
def _statement() -> str:
    """Return the SQL statement. It is built once, because building takes Django as long as PostgreSQL needs for the answer.

    As a join, or without its OFFSET, the condition on embeddings takes PostgreSQL twice as long, mostly for planning.
    """
    one_of = "users.id = ANY(%s::uuid[]) AND EXISTS (SELECT FROM profile_embeddings WHERE user_id = users.id OFFSET 0)"
    among = RawSQL(one_of, [""], output_field=BooleanField())  # noqa: S611  # a constant
    users = User.objects.matchable().filter(among)
    statement, parameters = users.values_list(Cast("pk", TextField()), "gender", "date_of_birth").query.sql_with_params()
    assert parameters == ("",)
    return str(statement)


def _vectors_of(user_ids: Sequence[UUID]) -> dict[UUID, Reals]:
    """Return the users' vectors as PostgreSQL has them now, in one statement. Raise UserFacingError for the first user without one."""
    if not user_ids:
        return {}
    rows = User.objects.filter(pk__in=set(user_ids)).values_list("pk", "embedding__vector", *HIDING_COLUMNS)
    users = {user_id: (hiding, numbers) for user_id, numbers, *hiding in rows}
    for user_id in user_ids:
        if user_id not in users:
            raise UserFacingError(f"PostgreSQL has no user with the id {str(user_id)!r}.")
        hiding, numbers = users[user_id]
        for since, reason in zip(hiding, HIDING_REASONS, strict=True):
            if since is not None:
                raise UserFacingError(f"The user {str(user_id)!r} {reason}. Search for another user.")
        if numbers is None:
            raise UserFacingError(f"The user {str(user_id)!r} has no embedding yet. Load one with manage.py upsert_embeddings FILE.")
    return {user_id: vector(numbers) for user_id, (_, numbers) in users.items()}
