"""A rebuild that is killed by SIGKILL at any step: the live collection stays complete, and the next run resumes."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest
from pytest_django import Settings

from accounts.models import User
from findme.core.errors import UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.support.collections import version
from tests.support.commands import run_python, started
from tests.vectorstore.rebuild.collections import create_live, differences, existing_versions, live_version, point_ids, states
from vectorstore.models import VectorCollection
from vectorstore.rebuild.reindex import reindex, roll_back
from vectorstore.retention.drop import drop_expired
from vectorstore.schema.initialize import compare, initialize
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]

WEEK = timedelta(days=7)

KILLED = """
import os, signal, sys
from datetime import timedelta
from functools import partial
from qdrant_client import QdrantClient
from vectorstore.schema import apply as applying
from vectorstore.catalog import registry
from vectorstore.rebuild import build as building
from vectorstore.rebuild import reindex as module

building.backfill = partial(building.backfill, batch_size=2)
what, when, times, command, retain_days = sys.argv[1:]
remaining = int(times)
owner, name = {"client": QdrantClient, "registry": registry, "build": building, "applying": applying}[what.split(".")[0]], what.split(".")[1]
original = getattr(owner, name)

def killed(*arguments, **options):
    global remaining
    remaining -= 1
    if remaining == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*arguments, **options)
    if remaining == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, killed)
if command == "reindex":
    module.reindex(retain=timedelta(days=int(retain_days)))
else:
    module.roll_back()
"""


@pytest.fixture(autouse=True)
def short_leases(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the leases: those of a dead builder last until they expire."""
    settings.QDRANT_TIMEOUT, settings.SYNC_LEASE_SECONDS, settings.SYNC_RECHECK_SECONDS = 2.0, 3.0, 0.1
    monkeypatch.setenv("SYNC_LEASE_SECONDS", "3")
    monkeypatch.setenv("SYNC_RECHECK_SECONDS", "0.1")


STEPS = [
    ("registry.reserve after 1", "v1", {"v1": "live", "v2": "failed"}),
    ("applying._index after 1", "v1", {"v1": "live", "v2": "failed"}),
    ("applying.make after 1", "v1", {"v1": "live", "v2": "failed"}),
    ("registry.build after 1", "v1", {"v1": "live", "v2": "building"}),
    ("client.upsert before 2", "v1", {"v1": "live", "v2": "building"}),
    ("client.upsert after 2", "v1", {"v1": "live", "v2": "building"}),
    ("build.wait_for_graphs after 1", "v1", {"v1": "live", "v2": "building"}),
    ("registry.prepare after 1", "v1", {"v1": "live", "v2": "ready"}),
    ("client.update_collection_aliases after 1", "v2", {"v1": "live", "v2": "ready"}),
    ("registry.reconcile after 2", "v2", {"v1": "retained", "v2": "live"}),
    ("registry.mark_for_deletion after 1", "v2", {"v1": "failed", "v2": "live"}),
    ("client.delete_collection after 1", "v2", {"v1": "failed", "v2": "live"}),
]


@pytest.mark.parametrize(("step", "alias", "rows"), STEPS, ids=[step for step, _, _ in STEPS])
def test_reindex__killed_at_any_step__leaves_a_complete_live_collection_and_resumes(
    qdrant_server: object, step: str, alias: str, rows: dict[str, str]
) -> None:
    users = create_live(5)
    assert run_python(KILLED, *step.split(), "reindex", 0)[0] == -signal.SIGKILL
    assert (live_version(), states()) == (alias, rows)
    assert differences(int(alias[1:])) == {}

    User.objects.filter(pk=users[0]).delete()
    User.objects.filter(pk=users[1]).update(verified=False)
    created = ProfileEmbeddingFactory.create().pk
    assert sync_once(timeout=60).remaining.length == 0
    assert differences(int(alias[1:])) == {}

    result = reindex()
    last = int(result.collection.rpartition("_v")[2])
    assert (states(), existing_versions(), differences(last)) == ({f"v{last}": "live"}, {f"v{last}"}, {})
    assert point_ids(last) == {str(user) for user in [*users[1:], created]}


def test_reindex__killed_after_moving_the_alias__retains_the_old_collection_as_requested(qdrant_server: object) -> None:
    create_live(2)
    assert run_python(KILLED, "client.update_collection_aliases", "after", 1, "reindex", 7)[0] == -signal.SIGKILL
    assert drop_expired() == ()
    back = roll_back()
    assert (back.collection, live_version(), states()) == (version(1), "v1", {"v1": "live", "v2": "retained"})
    assert back.retained_until is not None


@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize(("step", "alias"), [("registry.prepare after 1", "v2"), ("client.update_collection_aliases after 1", "v1")])
def test_rollback__killed__does_not_move_the_alias_back_when_run_again(qdrant_server: object, step: str, alias: str, synced: bool) -> None:
    users = create_live(3)
    reindex(retain=WEEK)
    assert run_python(KILLED, *step.split(), "rollback", 0)[0] == -signal.SIGKILL
    assert live_version() == alias
    if synced:
        User.objects.filter(pk=users[0]).delete()
        assert sync_once(timeout=60).remaining.length == 0
        assert (differences(1), differences(2)) == ({}, {})
    if not synced or alias == "v2":
        assert roll_back().collection == version(1)
    else:  # a worker has reconciled the rows with the alias
        with pytest.raises(UserFacingError, match="no older collection is retained"):
            roll_back()
    assert live_version() == "v1"
    assert states() == {"v1": "live", "v2": "retained"}
    assert VectorCollection.objects.get(state="retained").retain_until is not None


@pytest.mark.parametrize("line", ["Created ", " points written, ", " now points to "])
def test_reindex_qdrant__killed_by_another_process__resumes(qdrant_server: object, line: str) -> None:
    """The test kills the command when it reads ``line`` in its output."""
    users = create_live(5)
    with started("reindex_qdrant") as process:
        assert process.stdout is not None
        assert any(line in output_line for output_line in process.stdout)
        process.kill()
    live = live_version()
    assert live is not None and differences(int(live[1:])) == {}
    result = reindex()
    last = int(result.collection.rpartition("_v")[2])
    assert (states(), existing_versions(), differences(last)) == ({f"v{last}": "live"}, {f"v{last}"}, {})
    assert point_ids(last) == set(map(str, users))


def test_init_qdrant__reindex_was_killed_after_moving_the_alias__corrects_the_rows(qdrant_server: object) -> None:
    create_live(2)
    assert run_python(KILLED, "client.update_collection_aliases", "after", 1, "reindex", 7)[0] == -signal.SIGKILL
    initialize()
    assert (live_version(), states(), compare().differences) == ("v2", {"v1": "retained", "v2": "live"}, [])
    assert VectorCollection.objects.get(name=version(1)).retain_until is not None
    assert sync_once(timeout=60).remaining.length == 0
    assert (differences(1), differences(2)) == ({}, {})
