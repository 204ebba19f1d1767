"""Errors that a rebuild waits for while it writes all users, and errors that stop it."""

from __future__ import annotations

from typing import NoReturn
from uuid import uuid4

import pytest

from findme.core.errors import StoreUnavailable, StoreUnusable
from findme.core.waiting import POLL_SECONDS
from vectorstore.rebuild import backfill


def fail_with(monkeypatch: pytest.MonkeyPatch, error: StoreUnavailable) -> list[float]:
    """Raise ``error`` at each connection to Qdrant. Return a list that receives the seconds of each pause."""
    pauses: list[float] = []

    def fail() -> NoReturn:
        raise error

    monkeypatch.setattr(backfill, "qdrant", fail)
    monkeypatch.setattr("findme.core.waiting.time.sleep", pauses.append)
    return pauses


def test_backfill__store_unavailable__waits_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = fail_with(monkeypatch, StoreUnavailable("Nothing answers."))
    users = [uuid4()]
    assert backfill._Backfill("a_v2", timeout=300).batch(users) == users
    assert pauses == [POLL_SECONDS]


def test_backfill__error_that_needs_an_operator__is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = fail_with(monkeypatch, StoreUnusable("The key does not allow this."))
    with pytest.raises(StoreUnusable):
        backfill._Backfill("a_v2", timeout=300).batch([uuid4()])
    assert pauses == []
