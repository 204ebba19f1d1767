"""What a restored database ends of privacy: links, approvals that were not carried out, and searches before a replay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pytest_django import Settings

from accounts.models import User
from privacy.actions.export_link import make_export_link
from privacy.actions.replay import replay
from privacy.kept_exports.links import LinkOver, begin_download
from privacy.kept_exports.removal import remove_files_without_row
from privacy.ledger.gate import GATE
from privacy.ledger.publication import LedgerBehind
from privacy.models import Erasure, KeptExport, LedgerState
from privacy.models.request_choices import Kind, Method
from privacy.requests import steps
from privacy.requests.fulfilment import erase_approved, needs_new_plan
from privacy.restored import end_exports, serve_no_search, stop_approved_erasures
from tests.privacy.erasures.rows import insert_erasure, run
from tests.privacy.kept_exports.rows import make_row, token_of
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gate() -> Iterator[None]:
    """Let the gate compare, and forget what it has found after the test."""
    GATE.forget()
    yield
    GATE.forget()


def test_exports__their_links_end_and_their_files_are_deleted_later(shelf: Shelf, tmp_path: Path, settings: Settings) -> None:
    folder = tmp_path / "exports"
    folder.mkdir(mode=0o700)
    settings.EXPORTS_DIR = str(folder)
    link = make_export_link(full_life().pk)
    make_row()  # one that a process was making at the time of the backup
    assert end_exports() == "2 links to exports were ended."
    with pytest.raises(LinkOver):
        begin_download(token_of(link))
    assert len(list(folder.iterdir())) == 1, "a restore can still go back to the database that uses the files"
    assert remove_files_without_row() == 1
    assert list(folder.iterdir()) == []
    assert end_exports() == ""
    assert not KeptExport.objects.filter(deleted_at=None).exists()


def test_approved_erasure__is_stopped_and_must_be_approved_again(shelf: Shelf) -> None:
    """The request may have been withdrawn after the backup."""
    person = full_life()
    request = steps.record(Kind.ERASURE, user_id=person.pk, actor_id=UUID(int=1))
    steps.confirm_identity(request.pk, Method.LOGIN, actor_id=UUID(int=1))
    request = steps.approve(request.pk, actor_id=UUID(int=2))
    assert stop_approved_erasures() == "1 approved erasure was stopped. Check whether the request still stands, and approve it again."
    assert erase_approved({}) == 0
    assert User.objects.filter(pk=person.pk).exists()
    assert needs_new_plan(request)
    steps.approve(request.pk, actor_id=UUID(int=2))
    assert erase_approved({}) == 1
    assert not User.objects.filter(pk=person.pk).exists()


def test_erasure_that_has_begun__continues(shelf: Shelf) -> None:
    begun = insert_erasure(user_id=uuid4())
    run("UPDATE erasures SET ledger_position = 7 WHERE id = %s", begun)
    assert stop_approved_erasures() == ""
    assert Erasure.objects.get(pk=begun).state == "sealed"


def test_searches__are_served_after_a_replay_only(shelf: Shelf, gate: None) -> None:
    GATE.require_current()
    assert serve_no_search() == "No search is served until replay_erasures has ended."
    GATE.forget()
    with pytest.raises(LedgerBehind, match=r"Run manage\.py replay_erasures"):
        GATE.require_current()
    replay()
    GATE.require_current()


def test_searches__without_a_ledger_outside__are_served(shelf: Shelf, settings: Settings) -> None:
    settings.ERASURE_LEDGER_URL = ""
    assert serve_no_search() == ""
    assert not LedgerState.objects.filter(is_replaying=True).exists()
