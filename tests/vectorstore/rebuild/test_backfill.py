"""What a rebuild waits for while it writes everybody, and what it does not wait for."""

from __future__ import annotations

from typing import NoReturn
from uuid import uuid4

import pytest

from findme.core.errors import StoreUnavailable, StoreUnusable
from findme.core.waiting import POLL_SECONDS
from vectorstore.rebuild import backfill


def answer_with(monkeypatch: pytest.MonkeyPatch, error: StoreUnavailable) -> list[float]:
    """Have every use of Qdrant end in ``error``; the list gets the pauses."""
    pauses: list[float] = []

    def unavailable() -> NoReturn:
        raise error

    monkeypatch.setattr(backfill, "qdrant", unavailable)
    monkeypatch.setattr("findme.core.waiting.time.sleep", pauses.append)
    return pauses


def test_backfill__a_store_that_is_unavailable_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = answer_with(monkeypatch, StoreUnavailable("Nothing answers."))
    people = [uuid4()]
    assert backfill._Backfill("a_v2", timeout=300).batch(people) == people
    assert pauses == [POLL_SECONDS]


def test_backfill__an_error_that_needs_a_person_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = answer_with(monkeypatch, StoreUnusable("The key does not allow this."))
    with pytest.raises(StoreUnusable):
        backfill._Backfill("a_v2", timeout=300).batch([uuid4()])
    assert pauses == []
