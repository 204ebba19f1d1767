"""The version that a deletion writes to the metadata of the collections."""

from __future__ import annotations

import pytest
from django.db import transaction

from findme.core.errors import StoreUnavailable
from privacy.actions.erase import erase
from tests.support.users import create_users
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


def noted_version() -> int:
    live = registry.live()
    assert live is not None
    with qdrant() as client:
        return deleted_at(client.get_collection(live))


def test_allocate_for_deletion__is_above_values_logged_ahead(any_collection: str) -> None:
    before = last_allocated()
    assert allocate_for_deletion() == last_allocated() >= before + 33


def test_remove_point__rolled_back__still_notes_an_allocated_version(any_collection: str) -> None:
    (user_id,) = create_users(1)
    sync_once()
    assert noted_version() == 0
    with transaction.atomic():
        remove_point(user_id)
        transaction.set_rollback(True)
    first = noted_version()
    assert 0 < first <= last_allocated()
    with qdrant() as client:
        compare_checkpoints(client)
    erase(user_id)
    assert first < noted_version() <= last_allocated()


def test_sync_once__without_a_deletion__notes_nothing(any_collection: str) -> None:
    create_users(2)
    sync_once()
    assert noted_version() == 0


def test_reindex__new_live_collection__carries_the_noted_version(any_collection: str) -> None:
    user_id, *_ = create_users(2)
    sync_once()
    erase(user_id)
    before, live = noted_version(), registry.live()
    reindex()
    assert registry.live() != live
    assert noted_version() >= before > 0


def test_reset_checkpoint__clears_the_noted_version(any_collection: str) -> None:
    with qdrant() as client:
        note_deletion(client, last_allocated() + 1_000_000)
        reset_checkpoint(client)
        compare_checkpoints(client)
    assert noted_version() == 0


def test_note_deletion__a_collection_that_does_not_answer__is_skipped(
    any_collection: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unavailable(*_arguments: object, **_options: object) -> None:
        raise StoreUnavailable("Qdrant is unavailable.")

    with qdrant() as client, monkeypatch.context() as patched:
        patched.setattr(deletions, "tolerate_secondary_failure", unavailable)
        note_deletion(client, 1)
    assert "A restored PostgreSQL may go unnoticed until the next checkpoint: Qdrant is unavailable." in caplog.text
    assert noted_version() == 0
