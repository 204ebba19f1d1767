"""A rebuild, and the way back, while people come, change, leave and search, and workers write them: nobody meets with an error."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest

from accounts.models import User
from tests.factories import ProfileEmbeddingFactory, unit_vector
from tests.support.threads import in_thread
from tests.vectorstore.rebuild.collections import begun, ids, leads_to, states, there, version, wrong
from vectorstore.models import ProfileEmbedding
from vectorstore.rebuild.backfill import backfill
from vectorstore.rebuild.reindex import reindex, roll_back
from vectorstore.search.criteria import SearchQuery
from vectorstore.search.engine import search
from vectorstore.sync.inline import sync_users
from vectorstore.sync.worker import Worker, sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]

SEED = 4
WEEK = timedelta(days=7)


class Writers:
    """Each changes people of its own until they are stopped; ``deleted`` are those who are gone."""

    def __init__(self, people: list[UUID], how_many: int) -> None:
        self.stopped = threading.Event()
        self.deleted: set[UUID] = set()
        self.changes = self.searches = 0
        self.errors: list[Exception] = []
        works: list[Callable[[], None]] = [
            partial(self.write, random.Random(SEED + number), people[number::how_many]) for number in range(how_many)
        ]
        self.threads = [in_thread(partial(self.guarded, work)) for work in (*works, self.sync, self.sync, self.search)]

    def guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # whatever it is, the test tells it
            self.errors.append(error)

    def write(self, chance: random.Random, people: list[UUID]) -> None:
        while not self.stopped.wait(0.005):
            match chance.choice(["come", "come", "leave", "vector", "flag", "staff"]):
                case "come":
                    people.append(ProfileEmbeddingFactory.create().pk)
                case "leave" if len(people) > 10:
                    gone = people.pop(chance.randrange(len(people)))
                    User.objects.filter(pk=gone).delete()
                    self.deleted.add(gone)
                case "vector":
                    ProfileEmbedding.objects.filter(pk=chance.choice(people)).update(vector=unit_vector(chance.randrange(10_000)))
                case "flag":
                    User.objects.filter(pk=chance.choice(people)).update(verified=chance.random() < 0.5)
                case "staff":
                    User.objects.filter(pk=chance.choice(people)).update(is_staff=chance.random() < 0.5)
            self.changes += 1

    def sync(self) -> None:
        worker = Worker(batch_size=16)
        while not self.stopped.is_set():
            if worker.step() is None:
                time.sleep(0.02)

    def search(self) -> None:
        """As others do all along, and as the admin and the commands write."""
        chance = random.Random(SEED)
        while not self.stopped.is_set():
            assert search(SearchQuery(vector=unit_vector(chance.randrange(10_000)), limit=5))
            sync_users(ProfileEmbedding.objects.projectable().order_by("pk").values_list("pk", flat=True)[:2])
            self.searches += 1

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.result()


@contextmanager
def writing(people: list[UUID]) -> Iterator[Writers]:
    writers = Writers(people, 3)
    try:
        yield writers
    finally:
        writers.stop()
    assert writers.errors == []


def test_reindex__concurrent_writers(qdrant_server_grpc: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectorstore.rebuild.reindex.backfill", lambda name, **options: backfill(name, batch_size=8, **options))
    with writing(begun(60)) as writers:
        done = reindex(retain=WEEK)
        assert done.acceptance is not None and done.acceptance.recall >= 0.99
        roll_back()
        roll_back(version(2))
        done = reindex()
        assert done.dropped == (version(2),)
        before = writers.changes, writers.searches
    assert before[0] > 20 and before[1] > 5
    assert sync_once(timeout=60).remaining.length == 0
    assert (leads_to(), states(), there()) == ("v3", {"v1": "retained", "v3": "live"}, {"v1", "v3"})
    assert (wrong(1), wrong(3)) == ({}, {})
    assert ids(1) == ids(3) == {str(person) for person in ProfileEmbedding.objects.projectable().values_list("pk", flat=True)}
    assert not ids(3) & {str(person) for person in writers.deleted}
