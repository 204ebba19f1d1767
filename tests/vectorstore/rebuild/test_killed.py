"""Killed with SIGKILL at every step: the alias never leads to something incomplete, and the next run goes on."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest
from pytest_django import Settings

from accounts.models import User
from findme.core.errors import UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.support.commands import run_python, started
from tests.vectorstore.rebuild.collections import begun, ids, leads_to, states, there, version, wrong
from vectorstore.models import VectorCollection
from vectorstore.rebuild.reindex import reindex, roll_back
from vectorstore.retention.drop import drop_expired
from vectorstore.schema.initialize import compare, initialize
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]

WEEK = timedelta(days=7)

DYING = """
import os, signal, sys
from datetime import timedelta
from functools import partial
from qdrant_client import QdrantClient
from vectorstore.schema import apply as applying
from vectorstore.catalog import registry
from vectorstore.rebuild import reindex as module

module.backfill = partial(module.backfill, batch_size=2)
what, when, times, how, keep = sys.argv[1:]
left = int(times)
owner, name = {"client": QdrantClient, "registry": registry, "rebuild": module, "applying": applying}[what.split(".")[0]], what.split(".")[1]
done = getattr(owner, name)

def dying(*arguments, **options):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = done(*arguments, **options)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, dying)
if how == "reindex":
    module.reindex(retain=timedelta(days=int(keep)))
else:
    module.roll_back()
"""


@pytest.fixture(autouse=True)
def short_leases(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead builder holds its people until their lease has run out."""
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
    ("rebuild.wait_for_graphs after 1", "v1", {"v1": "live", "v2": "building"}),
    ("registry.prepare after 1", "v1", {"v1": "live", "v2": "ready"}),
    ("client.update_collection_aliases after 1", "v2", {"v1": "live", "v2": "ready"}),
    ("registry.reconcile after 2", "v2", {"v1": "retained", "v2": "live"}),
    ("registry.mark_for_deletion after 1", "v2", {"v1": "failed", "v2": "live"}),
    ("client.delete_collection after 1", "v2", {"v1": "failed", "v2": "live"}),
]


@pytest.mark.parametrize(("step", "alias", "rows"), STEPS, ids=[step for step, _, _ in STEPS])
def test_reindex__killed(qdrant_server: object, step: str, alias: str, rows: dict[str, str]) -> None:
    people = begun(5)
    assert run_python(DYING, *step.split(), "reindex", 0)[0] == -signal.SIGKILL
    assert (leads_to(), states()) == (alias, rows)
    assert wrong(int(alias[1:])) == {}

    User.objects.filter(pk=people[0]).delete()
    User.objects.filter(pk=people[1]).update(verified=False)
    coming = ProfileEmbeddingFactory.create().pk
    assert sync_once(timeout=60).remaining.length == 0
    assert wrong(int(alias[1:])) == {}

    done = reindex()
    last = int(done.collection.rpartition("_v")[2])
    assert (states(), there(), wrong(last)) == ({f"v{last}": "live"}, {f"v{last}"}, {})
    assert ids(last) == {str(person) for person in [*people[1:], coming]}


def test_reindex__killed_between_the_alias_and_its_row_keeps_the_old_one_for_as_long_as_was_said(qdrant_server: object) -> None:
    begun(2)
    assert run_python(DYING, "client.update_collection_aliases", "after", 1, "reindex", 7)[0] == -signal.SIGKILL
    assert drop_expired() == ()
    back = roll_back()
    assert (back.collection, leads_to(), states()) == (version(1), "v1", {"v1": "live", "v2": "retained"})
    assert back.retained_until is not None


@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize(("step", "alias"), [("registry.prepare after 1", "v2"), ("client.update_collection_aliases after 1", "v1")])
def test_rollback__killed(qdrant_server: object, step: str, alias: str, synced: bool) -> None:
    """Run again it does not go back to where it came from."""
    people = begun(3)
    reindex(retain=WEEK)
    assert run_python(DYING, *step.split(), "rollback", 0)[0] == -signal.SIGKILL
    assert leads_to() == alias
    if synced:
        User.objects.filter(pk=people[0]).delete()
        assert sync_once(timeout=60).remaining.length == 0
        assert (wrong(1), wrong(2)) == ({}, {})
    if not synced or alias == "v2":
        assert roll_back().collection == version(1)
    else:  # a worker has let the row follow the alias
        with pytest.raises(UserFacingError, match="no older collection is retained"):
            roll_back()
    assert leads_to() == "v1"
    assert states() == {"v1": "live", "v2": "retained"}
    assert VectorCollection.objects.get(state="retained").retain_until is not None


@pytest.mark.parametrize("line", ["Created ", " points written, ", " leads to "])
def test_reindex_qdrant__killed_from_outside(qdrant_server: object, line: str) -> None:
    """At whatever it does when somebody who reads its output has seen the line."""
    people = begun(5)
    with started("reindex_qdrant") as process:
        assert process.stdout is not None
        assert any(line in said for said in process.stdout)
        process.kill()
    live = leads_to()
    assert live is not None and wrong(int(live[1:])) == {}
    done = reindex()
    last = int(done.collection.rpartition("_v")[2])
    assert (states(), there(), wrong(last)) == ({f"v{last}": "live"}, {f"v{last}"}, {})
    assert ids(last) == set(map(str, people))


def test_init_qdrant__mends_what_was_killed_between_the_alias_and_its_row(qdrant_server: object) -> None:
    begun(2)
    assert run_python(DYING, "client.update_collection_aliases", "after", 1, "reindex", 7)[0] == -signal.SIGKILL
    initialize()
    assert (leads_to(), states(), compare().differences) == ("v2", {"v1": "retained", "v2": "live"}, [])
    assert VectorCollection.objects.get(name=version(1)).retain_until is not None
    assert sync_once(timeout=60).remaining.length == 0
    assert (wrong(1), wrong(2)) == ({}, {})
