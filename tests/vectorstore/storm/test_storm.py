"""Everything that can go wrong between the two stores, at once and for a while; then they agree, and no erased user is back.

Workers are killed, and frozen for longer than their lease; Qdrant is frozen, and killed; people come, change and go all along, by a fixed seed. Users
are anonymized and deleted for good, while stale objects and old copies of them are written (``tests/privacy/storm``). One
thing is kept apart, since the protocol leaves it to ``verify_qdrant``: a worker that was frozen is not killed right after it goes on, before it could
put its people back.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from pytest_django import DjangoDbBlocker, Settings

from tests.privacy.storm.storm import Erasures
from tests.support.database import Database, database, django_uses
from tests.support.waiting import wait_until
from tests.vectorstore.storm.agreement import disagreements, points
from tests.vectorstore.storm.server import Server
from tests.vectorstore.storm.workers import Workers
from tests.vectorstore.storm.writers import Writer
from vectorstore.queue.entries import is_empty
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

EVERY_DAY, AT_LENGTH = 2, 20
"""Seeds of ``make test``, and of it together with ``make test-long``."""
SEEDS = [pytest.param(seed, marks=pytest.mark.at_length) if seed >= EVERY_DAY else seed for seed in range(AT_LENGTH)]
if "STORM_SEEDS" in os.environ:
    SEEDS = list(range(int(os.environ["STORM_SEEDS"])))
SECONDS = 10.0
"""Of writing."""
TIMEOUT, LEASE, RECHECK = 1.0, 2.0, 1.0
WORKERS, WRITERS, PEOPLE = 4, 2, 60
MOST_DEADLOCKS = 3
"""Of all writers. One storm of fifty has one."""


@pytest.mark.long
@pytest.mark.qdrant_server
@pytest.mark.parametrize("seed", SEEDS)
def test_storm__then_both_stores_agree(
    seed: int,
    memory_path: Path,
    settings: Settings,
    template: Database,
    django_db_blocker: DjangoDbBlocker,
    record_property: Callable[[str, object], None],
) -> None:
    server = Server(memory_path)
    with django_db_blocker.unblock(), database(template.name) as made, django_uses(made):
        server.start()
        try:
            environment = _use(settings, server, made, with_grpc=seed % 2 == 1)
            initialize()
            erasures = _storm(seed, made, server, environment, memory_path)
            assert verify().clean
            assert disagreements(server.address, settings.QDRANT_COLLECTION) == [], (memory_path / "workers.log").read_text()[-3000:]
            assert erasures.findings() == []
            assert erasures.ledger.erased() & points(server.address, settings.QDRANT_COLLECTION) == set()
            record_property("storm", erasures.report())
        finally:
            server.stop()


def _use(settings: Settings, server: Server, made: Database, *, with_grpc: bool) -> dict[str, str]:
    settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = server.address.url, server.address.grpc_port if with_grpc else 0
    settings.QDRANT_COLLECTION, settings.QDRANT_TIMEOUT = "storm", TIMEOUT
    settings.SYNC_LEASE_SECONDS, settings.SYNC_RECHECK_SECONDS = LEASE, RECHECK
    names = ("QDRANT_URL", "QDRANT_GRPC_PORT", "QDRANT_COLLECTION", "QDRANT_TIMEOUT", "SYNC_LEASE_SECONDS", "SYNC_RECHECK_SECONDS")
    return {name: str(getattr(settings, name)) for name in names} | {
        "DATABASE_URL": made.url(),
        "DJANGO_SETTINGS_MODULE": "findme.settings",
        "DEBUG": "on",
    }


def _storm(seed: int, made: Database, server: Server, environment: dict[str, str], folder: Path) -> Erasures:
    chance, over = random.Random(seed), threading.Event()
    people = [UUID(int=chance.getrandbits(128), version=4) for _ in range(PEOPLE)]
    erasures = Erasures(made, seed, people, environment, folder)
    workers = Workers(environment, folder / "workers.log")
    writers = [Writer(made, 1000 * seed + number, people, over, erasures.ledger) for number in range(WRITERS)]
    try:
        erasures.start()
        for _ in range(WORKERS):
            workers.spawn()
        for writer in writers:
            writer.start()
        _wreck(chance, workers, server)
        over.set()
        for writer in writers:
            writer.join(60)
        erasures.stop()
        _calm(workers)
    finally:
        over.set()
        erasures.end()
        workers.end()
    assert [writer.error for writer in writers] == [None] * WRITERS
    assert min(writer.writes for writer in writers) > 50, "the writers hardly wrote"
    assert sum(writer.deadlocks for writer in writers) <= MOST_DEADLOCKS
    left = sync_once(timeout=30).remaining
    assert (left.length, left.quarantined) == (0, 0)
    return erasures


def _wreck(chance: random.Random, workers: Workers, server: Server) -> None:
    """One misfortune after the other. The frozen are let go before anybody else is chosen."""
    every: list[Callable[[], None]] = [
        lambda: _kill_a_worker(chance, workers),
        lambda: _freeze_a_worker(chance, workers),
        lambda: _freeze_qdrant(chance, server),
        lambda: _kill_qdrant(chance, server),
    ]
    first = chance.sample(every, len(every))
    deadline = time.monotonic() + SECONDS
    while first or time.monotonic() < deadline:  # each of them once, and then any
        time.sleep(chance.uniform(0.1, 0.8))
        (first.pop() if first else chance.choice(every))()


def _kill_a_worker(chance: random.Random, workers: Workers) -> None:
    workers.kill(chance.choice(workers.running))
    workers.spawn()


def _freeze_a_worker(chance: random.Random, workers: Workers) -> None:
    """For longer than its lease; then it has the time to find that out, and to put its people back."""
    pid = chance.choice(workers.running)
    workers.freeze(pid)
    time.sleep(LEASE * chance.uniform(1.1, 1.6))
    workers.thaw(pid)
    time.sleep(2 * TIMEOUT)


def _freeze_qdrant(chance: random.Random, server: Server) -> None:
    server.freeze()
    time.sleep(chance.uniform(0.3, 2.5))
    server.thaw()


def _kill_qdrant(chance: random.Random, server: Server) -> None:
    server.kill()
    time.sleep(chance.uniform(0, 1))
    server.start()


def _calm(workers: Workers) -> None:
    """The workers themselves come to the end of the queue."""
    wait_until(is_empty, "The queue becomes empty", poll_seconds=0.1)
