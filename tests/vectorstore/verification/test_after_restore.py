"""After a restore of PostgreSQL, no command writes a missing point without permission.

A user without a point may have been erased after the backup.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from pytest_django.fixtures import Settings

from accounts.models import User
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from tests.factories import ProfileEmbeddingFactory
from tests.support.commands import exit_code, refused
from tests.support.restored import restorable_postgres
from vectorstore.catalog.ownership import DATABASE
from vectorstore.consistency import preflight
from vectorstore.consistency.possibly_erased import users_without_point
from vectorstore.consistency.versions import last_allocated
from vectorstore.models import QueueEntry, StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name, note_outage, qdrant
from vectorstore.qdrant.errors import RestoreDetected
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of, sync_users
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def users(store: str) -> list[UUID]:
    """Three users with their points, and a checkpoint in both stores."""
    initialize()
    created = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(3))
    sync_once()
    with qdrant() as client:
        preflight.check_stores(client)
    return created


@contextmanager
def restored_after(change: Callable[[], object]) -> Iterator[None]:
    """Make and sync ``change``, then restore PostgreSQL to a copy from before it."""
    with restorable_postgres() as restore:
        change()
        sync_once()
        restore()
        yield


def delete_by_sql(user_id: UUID) -> None:
    """The worker has not recorded the deletion yet, so the ledger does not know it."""
    User.objects.filter(pk=user_id).delete()


@pytest.mark.at_length("embedded-anonymize", "embedded-soft_delete")
@pytest.mark.parametrize("remove", [erase, anonymize, soft_delete, delete_by_sql], ids=lambda remove: remove.__name__)
def test_repair__users_without_a_point__lists_them_and_writes_nothing(
    users: list[UUID], remove: Callable[[UUID], object], capsys: pytest.CaptureFixture[str]
) -> None:
    with restored_after(lambda: remove(users[1])):
        way_out = (
            "Erase again those who were, with manage.py erase_user ID --hard, and then run manage.py verify_qdrant --repair --after-restore."
            if remove is delete_by_sql
            else "The ledger outside has erasures that the database lacks: run manage.py replay_erasures first, and then run manage.py verify_qdrant"
            " --repair."
        )
        assert refused("verify_qdrant", "--repair", "--force") == (
            f"A store was restored, and 1 user has no point: each may have been erased after the backup. Nothing was changed. {way_out}"
        )
        assert capsys.readouterr().out.splitlines()[-2:] == ["Users without a point:", str(users[1])]
        assert not QueueEntry.objects.exists()
        with pytest.raises(RestoreDetected):
            sync_once()
        assert point_of(users[1]) is None

        assert exit_code("verify_qdrant", "--repair", "--force", "--after-restore") == 1
        assert sync_once().written == 1
        assert point_of(users[1]) is not None
        assert exit_code("verify_qdrant") == 0


@pytest.mark.at_length("embedded")
def test_repair__user_on_the_restored_queue__is_listed(users: list[UUID], capsys: pytest.CaptureFixture[str]) -> None:
    waiting = ProfileEmbeddingFactory.create().pk

    def write_and_erase() -> None:
        sync_once()
        erase(waiting)

    with restored_after(write_and_erase):
        assert QueueEntry.objects.filter(user_id=waiting).exists()
        refused("verify_qdrant", "--repair", "--force")
        assert str(waiting) in capsys.readouterr().out.splitlines()


@pytest.mark.at_length("embedded-anonymize", "embedded-soft_delete", "embedded-erase")
@pytest.mark.parametrize("remove", [erase, anonymize, soft_delete], ids=lambda remove: remove.__name__)
def test_repair__user_was_erased_again__needs_no_permission(
    users: list[UUID], remove: Callable[[UUID], object], settings: Settings
) -> None:
    """The removal allocates no version: only the sequence, which is too low, shows the restore. The ledger outside was lost too."""
    with restored_after(lambda: erase(users[1])):
        settings.ERASURE_LEDGER_URL += f"-{remove.__name__}"
        allocated = last_allocated()
        remove(users[1])
        assert last_allocated() == allocated
        with pytest.raises(RestoreDetected):
            sync_once()
        assert exit_code("verify_qdrant", "--repair", "--force") == 1
        sync_once()
        assert [point_of(user) is not None for user in users] == [True, False, True]
        assert exit_code("verify_qdrant") == 0


@pytest.mark.at_length("embedded")
def test_erasure__after_a_restore__removes_a_point_of_a_later_version(users: list[UUID]) -> None:
    def change() -> None:
        User.objects.filter(pk=users[0]).update(verified=False)
        make_new_checkpoint()

    with restored_after(change):
        erase(users[0])
        assert point_of(users[0]) is None
        with pytest.raises(RestoreDetected):
            sync_once()
        assert exit_code("verify_qdrant", "--repair", "--force") == 1
        sync_once()
        assert exit_code("verify_qdrant") == 0


@pytest.mark.at_length("embedded")
def test_repair__every_user_has_a_point__needs_no_permission(users: list[UUID]) -> None:
    def change() -> None:
        User.objects.filter(pk=users[0]).update(verified=False)
        make_new_checkpoint()

    with restored_after(change):
        assert exit_code("verify_qdrant", "--repair", "--force") == 1
        sync_once()
        assert exit_code("verify_qdrant") == 0


@pytest.mark.at_length("embedded")
def test_repair__json__lists_users_who_may_have_been_erased(users: list[UUID], capsys: pytest.CaptureFixture[str]) -> None:
    with restored_after(lambda: erase(users[2])):
        refused("verify_qdrant", "--repair", "--force", "--json")
        assert json.loads(capsys.readouterr().out)["possibly_erased"] == [str(users[2])]


@pytest.mark.at_length("reindex_qdrant", "sync_qdrant")
@pytest.mark.parametrize("command", [["sync_qdrant"], ["reindex_qdrant"], ["qdrant_snapshot", "restore", "missing.snapshot"]], ids=" ".join)
def test_other_commands__after_a_restore__refuse_and_write_no_point(embedded_qdrant: object, command: list[str]) -> None:
    initialize()
    users = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(2))
    sync_once()
    with qdrant() as client:
        preflight.check_stores(client)
    with restored_after(lambda: erase(users[0])):
        refused(*command)
        with pytest.raises(RestoreDetected):
            sync_users(users)
        assert point_of(users[0]) is None
        assert list(users_without_point(f"{collection_name()}_v1")) == [users[0]]


def test_adoption__collection_of_another_copy_of_the_database__lists_users_without_a_point(
    users: list[UUID], capsys: pytest.CaptureFixture[str]
) -> None:
    """As after loading a dump of only the users into a new database."""
    with qdrant() as client:
        client.delete(f"{collection_name()}_v1", [str(users[1])], wait=True)
    pretend_to_be_another_database()
    line = refused("init_qdrant", "--adopt")
    assert line.endswith("run manage.py init_qdrant --adopt --after-restore.")
    assert capsys.readouterr().out.splitlines() == [str(users[1])]
    assert point_of(users[1]) is None

    assert exit_code("init_qdrant", "--adopt", "--after-restore") == 0
    sync_once()
    assert point_of(users[1]) is not None


@pytest.mark.parametrize(("command", "add"), [("verify_qdrant", "--repair"), ("init_qdrant", "--adopt")])
def test_after_restore_option__without_its_main_option__is_refused(db: object, command: str, add: str) -> None:
    assert add in refused(command, "--after-restore")


def make_new_checkpoint() -> None:
    sync_once()
    StoreState.objects.update(checkpoint_at=None)
    with qdrant() as client:
        note_outage()
        preflight.check_stores(client)


def pretend_to_be_another_database() -> None:
    with qdrant() as client:
        client.update_collection(f"{collection_name()}_v1", metadata={DATABASE: str(uuid4())})
    VectorCollection.objects.all().delete()
    QueueEntry.objects.all().delete()
    StoreState.objects.update(checkpoint=None, pending_checkpoint=None, checkpoint_at=None)
