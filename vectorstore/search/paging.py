"""A search under way: which candidates it asks Qdrant for next, and whom it has found so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from qdrant_client import models

from vectorstore.qdrant.connection import is_embedded
from vectorstore.qdrant.query import Candidate, VectorQuery
from vectorstore.search.criteria import Place, SearchQuery
from vectorstore.search.filter import filter_of

SPARE = 6
"""Candidates beyond the limit: a few whom PostgreSQL or the query takes out, and those who score the same as the last."""
FIRST_PAGE_AT_MOST = 1000
HNSW_EF, HNSW_EF_BY_CRITERIA = 128, 224
"""How widely the graph is searched, where everybody is asked for, and where there are criteria, which lead through the parts of the graph that are left.
Measured by ``benchmarks/recall.py`` on 20,000 people in clusters: without criteria recall@10 is 1.00 with 64 already, which is left twice over for
vectors that lie worse; by gender it is 0.958 with 64, 0.969 with 128, 0.972 with 160 and 0.974 with 224."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A person who was found: the cosine of the two vectors (-1 to 1, as a 32-bit number), and what may be shown of a person who is found."""

    user_id: UUID
    score: float
    gender: str
    age: int

    @property
    def place(self) -> Place:
        """Where the next page begins: ``SearchQuery(after=...)``."""
        return Place(self.score, self.user_id)


def hnsw_ef_for(query: SearchQuery) -> int:
    return HNSW_EF_BY_CRITERIA if query.has_criteria else HNSW_EF


@dataclass(slots=True)
class Search:
    """Asks for ever longer beginnings of the list of candidates, until as many are found as are wanted, or there are no more.

    Each begins with the first: a graph that is searched more widely may put others in front, whom a page by offset would pass over. And where
    there seem to be no more, it is asked again without the graph, which need not reach everyone.

    A point whose vector has a NaN stands before all others, and its score, a NaN, is no likeness. Qdrant is not told of a least score: of the shard
    of such a point it would find nobody then.
    """

    query: SearchQuery
    direction: list[float]
    conditions: models.Filter | None = field(init=False)
    limit: int = field(init=False)
    exact: bool = field(default_factory=is_embedded)  # always, and it warns of one who asks for it
    done: bool = False
    found: list[tuple[float, str, str, int]] = field(default_factory=list)
    """Ids as Qdrant writes them, which sort as UUIDs do, and many times faster; the scores are negative, so that the best stand first."""
    examined: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.conditions = filter_of(self.query)
        # The embedded store is not told whom to leave out, and as many may stand in front.
        left_out = len(frozenset(self.query.exclude)) if is_embedded() else 0
        self.limit = min(self.query.wanted + left_out + SPARE, FIRST_PAGE_AT_MOST)
        self.examined = {str(user_id) for user_id in self.query.never_found}

    def vector_query(self) -> VectorQuery:
        return VectorQuery(self.direction, self.limit, self.conditions, hnsw_ef_for(self.query), self.exact)

    def fresh(self, candidates: Iterable[Candidate]) -> dict[str, float]:
        """Who of the candidates has not been looked at, with their scores."""
        scores = {
            point_id: score
            for point_id, score in candidates
            if isinstance(point_id, str) and point_id not in self.examined and math.isfinite(score)
        }
        if self.query.min_score is None and self.query.after is None:
            return scores
        return {user_id: score for user_id, score in scores.items() if self.query.has_score(score, UUID(user_id))}

    def take(self, candidates: Sequence[Candidate], fresh: Mapping[str, float], shown: Mapping[str, tuple[str, int]]) -> None:
        """What Qdrant has answered, who of it is FRESH, and whoever of these may be SHOWN."""
        self.examined |= fresh.keys()
        self.found += [
            (-score, user_id, *shown[user_id]) for user_id, score in fresh.items() if user_id in shown and self.query.wants(*shown[user_id])
        ]
        self.found.sort()
        wanted = self.query.wanted
        exhausted = len(candidates) < self.limit or self._is_below(candidates[-1])
        # One more who scores the same as the last may be among those who were not fetched.
        enough = len(self.found) >= wanted and (exhausted or candidates[-1][1] < -self.found[wanted - 1][0])
        self.done = enough or (exhausted and self.exact)
        if exhausted:
            self.exact = True
        else:
            self.limit *= 2

    def _is_below(self, last: Candidate) -> bool:
        """Whether the candidate, and so whoever comes after it, is not good enough."""
        return self.query.min_score is not None and last[1] < self.query.min_score

    def hits(self) -> list[Hit]:
        page = self.found[self.query.offset : self.query.wanted]
        return [Hit(UUID(user_id), -score, gender, age) for score, user_id, gender, age in page]
