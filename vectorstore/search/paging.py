"""A running search: which candidates to request next, and the hits so far."""

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
"""Candidates requested beyond the limit: PostgreSQL or the query removes a few, and some may have the same score as the last hit."""
MAX_FIRST_PAGE = 1000
HNSW_EF, HNSW_EF_BY_CRITERIA = 128, 224
"""Qdrant's ``hnsw_ef`` without and with criteria. Criteria restrict the search to parts of the graph.

Measured by ``benchmarks/recall.py`` on 20,000 users in clusters. Without criteria recall@10 is already 1.00 with 64. The double value is a reserve for
less favorable vectors. By gender it is 0.958 with 64, 0.969 with 128, 0.972 with 160 and 0.974 with 224.
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A user that was found: the cosine of the two vectors (-1 to 1, as a 32-bit number), and what may be shown of the user."""

    user_id: UUID
    score: float
    gender: str
    age: int

    @property
    def place(self) -> Place:
        """Return where the next page begins: ``SearchQuery(after=...)``."""
        return Place(self.score, self.user_id)


def hnsw_ef_for(query: SearchQuery) -> int:
    return HNSW_EF_BY_CRITERIA if query.has_criteria else HNSW_EF


@dataclass(slots=True)
class Search:
    """Requests ever longer lists of candidates, until enough users are found or no more candidates exist.

    Each list begins with the first candidate, because a wider search of the graph may put others in front, and an offset would skip them. When the
    candidates seem to be exhausted, the search is repeated without the graph, which need not reach every point.

    Qdrant puts points of vectors with a NaN first. Their score is a NaN and is ignored. Qdrant receives no minimum score, because it would then find no
    point in the shard of such a vector.
    """

    query: SearchQuery
    direction: list[float]
    conditions: models.Filter | None = field(init=False)
    limit: int = field(init=False)
    # The embedded store always searches exactly, and warns about an explicit request.
    exact: bool = field(default_factory=is_embedded)
    done: bool = False
    found: list[tuple[float, str, str, int]] = field(default_factory=list)
    """Scores are negative, so that the best hits come first. The ids are Qdrant's strings, which sort like UUIDs but many times faster."""
    examined: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.conditions = filter_of(self.query)
        # The embedded store's filter does not exclude ids, and all excluded users may come first.
        excluded = len(frozenset(self.query.exclude)) if is_embedded() else 0
        self.limit = min(self.query.wanted + excluded + SPARE, MAX_FIRST_PAGE)
        self.examined = {str(user_id) for user_id in self.query.never_found}

    def vector_query(self) -> VectorQuery:
        return VectorQuery(self.direction, self.limit, self.conditions, hnsw_ef_for(self.query), self.exact)

    def fresh(self, candidates: Iterable[Candidate]) -> dict[str, float]:
        """Return the candidates that were not examined yet, with their scores."""
        scores = {
            point_id: score
            for point_id, score in candidates
            if isinstance(point_id, str) and point_id not in self.examined and math.isfinite(score)
        }
        if self.query.min_score is None and self.query.after is None:
            return scores
        return {user_id: score for user_id, score in scores.items() if self.query.has_score(score, UUID(user_id))}

    def take(self, candidates: Sequence[Candidate], fresh: Mapping[str, float], shown: Mapping[str, tuple[str, int]]) -> None:
        """Add an answer of Qdrant. ``fresh`` are its new candidates, and ``shown`` those that may be shown."""
        self.examined |= fresh.keys()
        self.found += [
            (-score, user_id, *shown[user_id]) for user_id, score in fresh.items() if user_id in shown and self.query.wants(*shown[user_id])
        ]
        self.found.sort()
        wanted = self.query.wanted
        exhausted = len(candidates) < self.limit or self._is_below(candidates[-1])
        # A candidate that was not fetched may have the same score as the last hit.
        enough = len(self.found) >= wanted and (exhausted or candidates[-1][1] < -self.found[wanted - 1][0])
        self.done = enough or (exhausted and self.exact)
        if exhausted:
            self.exact = True
        else:
            self.limit *= 2

    def _is_below(self, last: Candidate) -> bool:
        """Return whether the last candidate's score is too low, so that all later ones are too."""
        return self.query.min_score is not None and last[1] < self.query.min_score

    def hits(self) -> list[Hit]:
        page = self.found[self.query.offset : self.query.wanted]
        return [Hit(UUID(user_id), -score, gender, age) for score, user_id, gender, age in page]
