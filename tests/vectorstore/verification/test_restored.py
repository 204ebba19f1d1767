"""A running worker notices that a store was restored from an older copy, and resumes after the repair."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import User
from tests.qdrant import QdrantServer, free_port, started_qdrant
from tests.support.commands import manage, watching
from tests.support.processes import ended
from tests.support.restored import restorable_postgres
from tests.support.users import create_users
from tests.support.waiting import wait_until
from vectorstore.models import QueueEntry, StoreState, SyncLease
from vectorstore.qdrant.connection import qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of
from vectorstore.verification.verify import verify

pytestmark = [pytest.mark.qdrant_server, pytest.mark.django_db(transaction=True)]


def is_synced() -> bool:
    return not QueueEntry.objects.exists() and not SyncLease.objects.exists()


def renew_checkpoint() -> None:
    """Make the checkpoint due, and wait until the worker has renewed it in its next batch."""
    before = (StoreState.current().checkpoint or {}).get("id")
    StoreState.objects.update(checkpoint_at=None)
    create_users(1)
    wait_until(lambda: (StoreState.current().checkpoint or {}).get("id") not in {before, None}, "the checkpoint is renewed")
    wait_until(is_synced, "all users are written")


def resumes_after_repair(worker: subprocess.Popen[str], line: str) -> None:
    """Assert that the worker writes no user before the repair and all users after it, and that it has logged ``line``."""
    (later_user,) = create_users(1)
    code, reported, _ = manage("verify_qdrant")
    assert (code, line in reported) == (1, True), reported
    time.sleep(0.5)
    assert point_of(later_user) is None
    code, reported, errors = manage("verify_qdrant", "--repair", "--force", "--after-restore")
    assert (code, errors) == (1, ""), reported + errors
    wait_until(is_synced, "all users are written")
    assert point_of(later_user) is not None
    assert verify().clean
    worker.send_signal(signal.SIGTERM)
    code, _, errors = ended(worker)
    assert code == 0
    assert [one for one in errors.splitlines() if line in one and "manage.py verify_qdrant --repair" in one], errors


@pytest.mark.at_length
def test_watch__postgresql_was_restored__stops_and_resumes_after_repair(qdrant_server: QdrantServer) -> None:
    initialize()
    with watching() as first:
        users = create_users(4)
        wait_until(is_synced, "all users are written")
        first.send_signal(signal.SIGTERM)
        assert ended(first)[0] == 0
    with restorable_postgres() as restore, watching() as worker:
        User.objects.filter(pk=users[0]).delete()
        User.objects.filter(pk=users[1]).update(verified=False)
        later_users = create_users(2)
        wait_until(is_synced, "all users are written")
        restore()
        assert set(User.objects.filter(pk__in=[*users, *later_users]).values_list("pk", flat=True)) == set(users)
        resumes_after_repair(worker, "it was restored to an older copy, or failed over.")
        assert [point_of(user) is not None for user in (*users, *later_users)] == [True] * 4 + [False] * 2


def test_watch__qdrant_was_restored__stops_and_resumes_after_repair(memory_path: Path, settings: Settings) -> None:
    ports = {"SERVICE__HTTP_PORT": str(free_port()), "SERVICE__GRPC_PORT": str(free_port())}
    settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = f"http://127.0.0.1:{ports['SERVICE__HTTP_PORT']}", 0
    with started_qdrant(memory_path, **ports):
        initialize()
        with watching() as first:
            users = create_users(4)
            renew_checkpoint()
            first.send_signal(signal.SIGTERM)
            assert ended(first)[0] == 0
    shutil.copytree(memory_path / "storage", memory_path / "copy")
    with watching() as worker:
        with started_qdrant(memory_path, **ports):
            User.objects.filter(pk=users[0]).delete()
            User.objects.filter(pk=users[1]).update(verified=False)
            later_users = create_users(2)
            renew_checkpoint()
        shutil.rmtree(memory_path / "storage")
        (memory_path / "copy").rename(memory_path / "storage")
        create_users(1)  # a user that the worker tries to write
        assert worker.stderr is not None
        assert "Nothing answers at QDRANT_URL" in worker.stderr.readline()
        with started_qdrant(memory_path, **ports):
            with qdrant() as client:
                assert len(client.get_collections().collections) == 1
            resumes_after_repair(worker, "one of the two was restored to an older copy.")
            assert [point_of(user) is not None for user in (*users, *later_users)] == [False] + [True] * 5
