"""A user who comes back under the same id: an older note or entry must not erase the new data, and a new erasure counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from accounts.models import User
from findme.core.errors import UserFacingError
from privacy.actions import notes, pending
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from privacy.actions.erase_many import erase_many
from privacy.actions.pending import process_pending
from privacy.actions.restriction import resume_matching, stop_matching
from privacy.actions.undo_erasure import undo_erasures
from privacy.ledger.book import entries_of
from privacy.ledger.entry import Kind
from privacy.models import PendingAction
from privacy.models.request_choices import Processing
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.privacy.erasures.rows import DIGEST
from tests.privacy.shelf import Shelf
from tests.support.threads import Running, in_thread

pytestmark = pytest.mark.django_db(transaction=True)

ERASE, UNDO_ERASE, ANONYMIZE, UNDO_ANONYMIZE = Kind.ERASE, Kind.UNDO_ERASE, Kind.ANONYMIZE, Kind.UNDO_ANONYMIZE
HIDE, SHOW = Kind.SOFT_DELETE, Kind.UNDO_SOFT_DELETE


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def kinds(user_id: UUID) -> list[Kind]:
    return [entry.kind for entry in entries_of(user_id)]


def new_user() -> UUID:
    user_id: UUID = UserFactory.create().pk
    return user_id


def come_back(user_id: UUID) -> None:
    undo_erasures([user_id])
    UserFactory.create(id=user_id, email="back@example.org")


def delete_by_sql(user_id: UUID) -> None:
    sql("DELETE FROM users WHERE id = %s", user_id)


def anonymize_by_sql(user_id: UUID) -> None:
    sql("UPDATE users SET email = 'deleted_' || id || '@findme.ai', full_name = 'Deleted User' WHERE id = %s", user_id)


def assert_is_back(user_id: UUID) -> None:
    user = User.objects.get(pk=user_id)
    assert (user.email, user.deleted_at) == ("back@example.org", None)
    assert not PendingAction.objects.exists()


# --- The worker -------------------------------------------------------------------------------------------------------------------


def test_deleted_by_sql__and_back__is_not_erased(shelf: Shelf) -> None:
    user_id = new_user()
    delete_by_sql(user_id)
    come_back(user_id)
    shelf.ids.add(user_id)
    process_pending()
    assert kinds(user_id) == [ERASE, UNDO_ERASE]
    assert_is_back(user_id)
    assert user_id in shelf.ids


def test_anonymized_by_sql__and_back__is_not_anonymized(shelf: Shelf) -> None:
    user_id = new_user()
    anonymize_by_sql(user_id)
    undo_erasures([user_id])
    sql("UPDATE users SET email = 'back@example.org', full_name = 'Back' WHERE id = %s", user_id)
    process_pending()
    assert kinds(user_id) == [ANONYMIZE, UNDO_ANONYMIZE]
    assert_is_back(user_id)


def test_anonymized_and_deleted_by_sql__and_back__is_not_anonymized(shelf: Shelf) -> None:
    user_id = new_user()
    anonymize_by_sql(user_id)
    delete_by_sql(user_id)
    come_back(user_id)
    process_pending()
    assert kinds(user_id) == [ANONYMIZE, ERASE, UNDO_ERASE, UNDO_ANONYMIZE]
    assert_is_back(user_id)


def test_deleted_by_sql__back_after_the_batch__is_not_erased(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch ends before the note of the undoing."""
    monkeypatch.setattr(pending, "BATCH_SIZE", 1)
    user_id = new_user()
    delete_by_sql(user_id)
    come_back(user_id)
    while process_pending().completed:
        pass
    assert kinds(user_id) == [ERASE, UNDO_ERASE]
    assert_is_back(user_id)


def test_deleted_by_sql__back_while_its_erasure_waits__is_not_erased(shelf: Shelf) -> None:
    user_id = new_user()
    delete_by_sql(user_id)
    shelf.reachable = False
    assert set(process_pending().waiting) == {user_id}
    come_back(user_id)
    shelf.reachable = True
    process_pending()
    assert kinds(user_id) == [ERASE, UNDO_ERASE]
    assert_is_back(user_id)


def test_erase__user_comes_back_meanwhile__erases_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is not there when the erasure begins, and is when it locks the row."""
    user_id = new_user()
    delete_by_sql(user_id)

    def come_back_then(*_: object) -> set[str]:
        come_back(user_id)
        return set()

    monkeypatch.setattr("privacy.actions.erase._erase_files", come_back_then)
    with pytest.raises(UserFacingError, match=r"was inserted again meanwhile: nothing was changed\. Run it again\.$"):
        erase(user_id)
    monkeypatch.undo()
    assert User.objects.filter(pk=user_id).exists()


def test_killed_after_the_entries__records_none_twice(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    user_id = new_user()
    soft_delete(user_id)
    sql("UPDATE users SET deleted_at = NULL WHERE id = %s", user_id)
    delete_by_sql(user_id)
    come_back(user_id)

    def die(_row: PendingAction) -> bool:
        raise KeyboardInterrupt

    sql("UPDATE users SET deleted_at = NOW() WHERE id = %s", user_id)
    monkeypatch.setattr(pending, "complete_action", die)
    with pytest.raises(KeyboardInterrupt):
        process_pending()
    monkeypatch.undo()
    process_pending()
    assert kinds(user_id) == [HIDE, SHOW, ERASE, UNDO_ERASE, HIDE]


def test_command_and_worker_at_once__record_one_entry(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker learns of the pending action of a command before the command has its entry. It waits until the entry is committed."""
    user_id = new_user()
    create = PendingAction.objects.create
    workers: list[Running[int]] = []

    def create_and_start_the_worker(**values: Any) -> PendingAction:
        row = create(**values)
        workers.append(in_thread(lambda: notes.record_missing([row])))
        return row

    monkeypatch.setattr(PendingAction.objects, "create", create_and_start_the_worker)
    erase(user_id)
    assert [worker.result() for worker in workers] == [0]
    assert kinds(user_id) == [ERASE]


# --- Actions before the worker ----------------------------------------------------------------------------------------------------


def erase_in_a_batch(user_id: UUID) -> None:
    assert erase_many([user_id], DIGEST).erased == 1


@pytest.mark.parametrize("again", [erase, erase_in_a_batch])
def test_erased_again__before_the_worker__stays_erased_in_the_ledger(again: Callable[[UUID], object], shelf: Shelf) -> None:
    user_id = new_user()
    erase(user_id)
    come_back(user_id)
    again(user_id)
    process_pending()
    assert kinds(user_id) == [ERASE, UNDO_ERASE, ERASE]
    assert not PendingAction.objects.exists()


def test_anonymized_again__before_the_worker__stays_anonymized_in_the_ledger(shelf: Shelf) -> None:
    user_id = new_user()
    anonymize(user_id)
    process_pending()
    undo_erasures([user_id])
    sql("UPDATE users SET email = 'back@example.org', full_name = 'Back', deleted_at = NULL WHERE id = %s", user_id)
    anonymize(user_id)
    process_pending()
    assert [kind for kind in kinds(user_id) if kind in {ANONYMIZE, UNDO_ANONYMIZE}] == [ANONYMIZE, UNDO_ANONYMIZE, ANONYMIZE]


def test_embedding_stopped__before_the_worker_has_the_resumption__stays_stopped_in_the_ledger(shelf: Shelf) -> None:
    user_id: UUID = ProfileEmbeddingFactory.create().pk
    stop_matching(user_id)
    process_pending()
    resume_matching(user_id)
    stop_matching(user_id, Processing.EMBEDDING)
    process_pending()
    assert kinds(user_id) == [Kind.OBJECT, Kind.UNDO_OBJECT, Kind.OBJECT]
    assert not PendingAction.objects.exists()
