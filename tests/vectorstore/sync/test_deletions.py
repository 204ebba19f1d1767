"""The version that a deletion leaves in the collections' metadata."""

from __future__ import annotations

import pytest
from django.db import transaction

from findme.core.errors import StoreUnavailable
from privacy.actions.erase import erase
from tests.vectorstore.sync.people import people
from vectorstore.catalog import registry
from vectorstore.consistency import deletions
from vectorstore.consistency.checkpoint import compare_checkpoints, reset_checkpoint
from vectorstore.consistency.deletions import allocate_for_deletion, deleted_at, note_deletion
from vectorstore.consistency.versions import last_allocated
from vectorstore.qdrant.connection import qdrant
from vectorstore.rebuild.reindex import reindex
from vectorstore.sync.inline import remove_point
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)


def noted() -> int:
    live = registry.live()
    assert live is not None
    with qdrant() as client:
        return deleted_at(client.get_collection(live))


def test_allocate__is_above_what_a_sequence_notes_ahead(any_collection: str) -> None:
    before = last_allocated()
    assert allocate_for_deletion() == last_allocated() >= before + 33


def test_removal__notes_a_version_that_is_allocated_whatever_becomes_of_the_transaction(any_collection: str) -> None:
    (user_id,) = people(1)
    sync_once()
    assert noted() == 0
    with transaction.atomic():
        remove_point(user_id)
        transaction.set_rollback(True)
    first = noted()
    assert 0 < first <= last_allocated()
    with qdrant() as client:
        compare_checkpoints(client)
    erase(user_id)
    assert first < noted() <= last_allocated()


def test_sync_once__without_a_deletion_notes_nothing(any_collection: str) -> None:
    people(2)
    sync_once()
    assert noted() == 0


def test_collections__that_take_the_place_of_the_live_one_carry_it_too(any_collection: str) -> None:
    user_id, *_ = people(2)
    sync_once()
    erase(user_id)
    before, live = noted(), registry.live()
    reindex()
    assert registry.live() != live
    assert noted() >= before > 0


def test_new_checkpoint__forgets_it(any_collection: str) -> None:
    with qdrant() as client:
        note_deletion(client, last_allocated() + 1_000_000)
        reset_checkpoint(client)
        compare_checkpoints(client)
    assert noted() == 0


def test_note__a_collection_that_does_not_answer_is_passed_over(
    any_collection: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_arguments: object, **_options: object) -> None:
        raise StoreUnavailable("Qdrant is unavailable.")

    with qdrant() as client, monkeypatch.context() as patched:
        patched.setattr(deletions, "tolerate_secondary_failure", away)
        note_deletion(client, 1)
    assert "A restored PostgreSQL may go unnoticed until the next checkpoint: Qdrant is unavailable." in caplog.text
    assert noted() == 0
