"""The three-way comparison, over all combinations."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorstore.ingest.from_qdrant.decision import Decision, decide
from vectorstore.ingest.from_qdrant.digests import Base, digest
from vectorstore.ingest.from_qdrant.points import Candidate
from vectorstore.ingest.from_qdrant.stored import Embedding
from vectorstore.ingest.rows import Content
from vectorstore.projection.vectors import Reals

USER = UUID(int=1)


def direction(seed: int) -> Reals:
    vector = np.random.default_rng(seed).standard_normal(512)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def candidate(seed: int, length: float = 1) -> Candidate:
    return Candidate(1, Content(USER, (direction(seed) * np.float32(length)).astype(np.float32), (1.0, 2.0), ("sea",), None), {})


def row(seed: int, length: float = 1) -> Embedding:
    return Embedding((direction(seed) * np.float32(length)).astype(np.float32), (1.0, 2.0), ("sea",), None)


@given(point=st.integers(0, 2), stored=st.integers(0, 2) | st.none(), base=st.tuples(st.integers(0, 2), st.integers(0, 2)) | st.none())
def test_decide__never_overwrites_a_row_that_is_not_the_imported_one(point: int, stored: int | None, base: tuple[int, int] | None) -> None:
    known = None if base is None else Base(candidate(base[0]).digest, row(base[1]).digest)
    decision = decide(candidate(point), None if stored is None else row(stored), known, is_cosine=True)
    if stored is None:
        assert decision is (Decision.NEW if base is None else Decision.DELETED)
    elif stored == point:
        assert decision is Decision.SAME
    elif base is not None and base[1] == stored:
        assert decision is Decision.CHANGED
    elif base is not None and base[0] == point:
        assert decision is Decision.KEPT
    else:
        assert decision is Decision.CONFLICT


@pytest.mark.parametrize("length", [1e-20, 0.1, 3, 1e15])
def test_decide__another_length__is_equal_only_for_cosine_distance(length: float) -> None:
    """The embedded store keeps the length of a point's vector."""
    for point, found in ((candidate(1), row(1, length)), (candidate(1, length), row(1))):
        assert decide(point, found, None, is_cosine=True) is Decision.SAME
        assert decide(point, found, None, is_cosine=False) is Decision.CONFLICT


def test_decide__one_number_beyond_rounding__differs() -> None:
    found = row(1)
    found.vector[7] += np.float32(3e-6)
    assert decide(candidate(1), found, None, is_cosine=True) is Decision.CONFLICT


CONTENTS = [
    (direction(1), None, (), None),
    (direction(2), None, (), None),
    (direction(1), (0.0, 0.0), (), None),
    (direction(1), (0.0, 1.0), (), None),
    (direction(1), None, ("a", "b"), None),
    (direction(1), None, ("ab",), None),
    (direction(1), None, ("b", "a"), None),
    (direction(1), None, ("",), None),
    (direction(1), None, (), np.zeros(0, np.float32)),
    (direction(1), None, (), np.zeros(1, np.float32)),
]


def test_digest__each_content_has_its_own() -> None:
    assert len({digest(*content) for content in CONTENTS}) == len(CONTENTS)
    assert all(-(2**63) <= digest(*content) < 2**63 for content in CONTENTS)
