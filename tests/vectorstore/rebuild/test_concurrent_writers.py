"""Rebuilds and rollbacks while users are created, changed, deleted and searched, and workers sync them."""

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
from tests.support.collections import version
from tests.support.threads import in_thread
from tests.vectorstore.rebuild.collections import create_live, differences, existing_versions, live_version, point_ids, states
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
    """Threads that write, sync and search until they are stopped. Each writer changes its own users."""

    def __init__(self, users: list[UUID], writer_count: int) -> None:
        self.stopped = threading.Event()
        self.deleted: set[UUID] = set()
        self.changes = self.searches = 0
        self.errors: list[Exception] = []
        tasks: list[Callable[[], None]] = [
            partial(self.write, random.Random(SEED + number), users[number::writer_count]) for number in range(writer_count)
        ]
        self.threads = [in_thread(partial(self.record_error, task)) for task in (*tasks, self.sync, self.sync, self.search)]

    def record_error(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001  # the test reports every error of a thread
            self.errors.append(error)

    def write(self, rng: random.Random, users: list[UUID]) -> None:
        while not self.stopped.wait(0.005):
            match rng.choice(["create", "create", "delete", "vector", "flag", "staff"]):
                case "create":
                    users.append(ProfileEmbeddingFactory.create().pk)
                case "delete" if len(users) > 10:
                    deleted = users.pop(rng.randrange(len(users)))
                    User.objects.filter(pk=deleted).delete()
                    self.deleted.add(deleted)
                case "vector":
                    ProfileEmbedding.objects.filter(pk=rng.choice(users)).update(vector=unit_vector(rng.randrange(10_000)))
                case "flag":
                    User.objects.filter(pk=rng.choice(users)).update(verified=rng.random() < 0.5)
                case "staff":
                    User.objects.filter(pk=rng.choice(users)).update(is_staff=rng.random() < 0.5)
            self.changes += 1

    def sync(self) -> None:
        worker = Worker(batch_size=16)
        while not self.stopped.is_set():
            if worker.step() is None:
                time.sleep(0.02)

    def search(self) -> None:
        """Search, and sync users inline as the admin and the commands do."""
        rng = random.Random(SEED)
        while not self.stopped.is_set():
            assert search(SearchQuery(vector=unit_vector(rng.randrange(10_000)), limit=5))
            sync_users(ProfileEmbedding.objects.projectable().order_by("pk").values_list("pk", flat=True)[:2])
            self.searches += 1

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.result()


@contextmanager
def writers_running(users: list[UUID]) -> Iterator[Writers]:
    writers = Writers(users, 3)
    try:
        yield writers
    finally:
        writers.stop()
    assert writers.errors == []


def test_reindex__while_users_are_written_and_searched__loses_no_change(
    qdrant_server_grpc: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vectorstore.rebuild.build.backfill", lambda name, **options: backfill(name, batch_size=8, **options))
    with writers_running(create_live(60)) as writers:
        result = reindex(retain=WEEK)
        assert result.acceptance is not None and result.acceptance.recall >= 0.99
        roll_back()
        roll_back(version(2))
        result = reindex()
        assert result.dropped == (version(2),)
        before = writers.changes, writers.searches
    assert before[0] > 20 and before[1] > 5
    assert sync_once(timeout=60).remaining.length == 0
    assert (live_version(), states(), existing_versions()) == ("v3", {"v1": "retained", "v3": "live"}, {"v1", "v3"})
    assert (differences(1), differences(3)) == ({}, {})
    assert point_ids(1) == point_ids(3) == {str(user) for user in ProfileEmbedding.objects.projectable().values_list("pk", flat=True)}
    assert not point_ids(3) & {str(user) for user in writers.deleted}
