"""Rectifications that were answered after the backup are listed after a restore, until the officer has repeated them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import settings

from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.actions.erase import erase
from privacy.actions.rectifications import record_rectification
from privacy.actions.replay import replay
from privacy.ledger.entry import Kind
from privacy.models import DataSubjectRequest, LedgerEntry
from privacy.models.request_choices import State
from privacy.requests import steps
from tests.factories import UserFactory
from tests.privacy.requests.rows import request_in
from tests.privacy.shelf import Shelf
from tests.support.commands import manage_here
from tests.support.restored import restorable_postgres

pytestmark = pytest.mark.django_db(transaction=True)


def user() -> UUID:
    user_id: UUID = UserFactory.create().pk
    return user_id


def answer_rectification(user_id: UUID) -> UUID:
    request_id = request_in(State.APPROVED, kind="rectification", user_id=user_id)
    steps.answer(request_id)
    return request_id


def test_answer__of_a_rectification__has_an_entry_without_the_request() -> None:
    user_id = user()
    request_id = answer_rectification(user_id)
    entry = LedgerEntry.objects.get()
    assert Kind(entry.kind) is Kind.RECTIFY
    assert request_id.bytes not in bytes(entry.plan_digest or b"")
    steps.answer(request_in(State.APPROVED, kind="access", user_id=user_id))
    assert LedgerEntry.objects.count() == 1


def test_answer__that_is_refused__has_no_entry() -> None:
    request_id = request_in(State.APPROVED, kind="rectification", user_id=user())
    with pytest.raises(UserFacingError, match="Correct the date of the step"):
        steps.answer(request_id, answered_on=date(2020, 1, 1))
    assert not LedgerEntry.objects.exists()


def test_answer__again_after_a_lost_answer__has_one_entry() -> None:
    """The process was killed after the entry."""
    request_id = request_in(State.APPROVED, kind="rectification", user_id=user())
    record_rectification(DataSubjectRequest.objects.get(pk=request_id))
    steps.answer(request_id)
    assert LedgerEntry.objects.count() == 1


def test_answer__ledger_unavailable__changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    request_id = request_in(State.APPROVED, kind="rectification", user_id=user())
    monkeypatch.setattr(settings, "ERASURE_LEDGER_URL", f"{tmp_path}/not mounted")
    with pytest.raises(StoreUnavailable):
        steps.answer(request_id)
    assert DataSubjectRequest.objects.get(pk=request_id).state == State.APPROVED


def test_replay__lists_lost_rectifications_until_they_are_repeated(shelf: Shelf) -> None:
    before, lost, twice, erased = users = [user() for _ in range(4)]
    answer_rectification(before)
    answer_rectification(twice)
    with restorable_postgres() as restore:
        answer_rectification(lost)
        answer_rectification(twice)
        answer_rectification(erased)
        erase(erased)
        restore()
        shelf.ids |= {*users}
        assert set(replay(dry_run=True).rectifications) == {lost, twice, erased}
        assert set(replay().rectifications) == {lost, twice}
        code, printed, errors = manage_here("replay_erasures", "--skip-checks")
        assert (code, errors) == (0, "")
        for user_id in (lost, twice):
            line = "a request for rectification was answered after the backup. Correct the data again, then record and answer it."
            assert f"{user_id}: {line}\n" in printed
        answer_rectification(lost)
        assert replay().rectifications == (twice,)
        answer_rectification(twice)
        assert replay().rectifications == ()
