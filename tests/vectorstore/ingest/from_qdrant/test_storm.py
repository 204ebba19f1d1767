"""An import that is killed again and again while services write to both stores."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection
from psycopg.conninfo import make_conninfo
from qdrant_client import models

from accounts.models import User
from privacy.models import ErasedUser
from tests.factories import UserFactory
from tests.support.commands import environment
from tests.support.database import database_parameters
from tests.support.processes import start_python
from tests.support.seeds import storm_seeds
from tests.support.threads import in_thread
from tests.support.waiting import wait_until
from tests.vectorstore.ingest.from_qdrant.guide_points import (
    bits,
    create,
    guide,
    import_all,
    point,
    received,
    rejects,
    stored,
    vector,
    write,
)
from vectorstore.ingest.from_qdrant.digests import digest
from vectorstore.ingest.from_qdrant.stored import embeddings
from vectorstore.models import ImportDigest

USERS = 60
KILLS = 3
LONGEST_SECONDS = 600
MOST_PAGES = 12
"""Pages that a run writes before it is killed. There are 21."""

CHILD = """
import django
django.setup()
import sys
from pathlib import Path
from vectorstore.ingest.from_qdrant import run
from vectorstore.ingest.from_qdrant.source import address_from, checked_source

run.PAGE_SIZE = run.EMBEDDED_PAGE_SIZE = 3
run.import_embeddings(checked_source(address_from(None, None, None), sys.argv[1], None), rejects=Path(sys.argv[2]), report=lambda *_: print("page", flush=True))
"""


class Services:
    """Two services: one writes points, one writes rows and erases users. Both end when ``over`` is set."""

    def __init__(self, users: list[User], seed: int) -> None:
        self.users, self.random, self.over = users, random.Random(seed), threading.Event()
        self.markers: dict[UUID, str] = {}
        """The last interest that the second service wrote, by user."""
        self.points = self.rows = 0

    def write_points(self) -> None:
        chance = random.Random(self.random.random())
        while not self.over.wait(0.02):
            write([point(chance.choice(self.users), chance.randrange(10_000))])
            self.points += 1

    def write_rows(self) -> None:
        chance = random.Random(self.random.random())
        with psycopg.connect(make_conninfo(**database_parameters()), autocommit=True) as session:
            while not self.over.wait(0.01):
                self._write_row(session, chance.choice(self.users).pk, chance)
                self.rows += 1

    def _write_row(self, session: psycopg.Connection[Any], user_id: UUID, chance: random.Random) -> None:
        what = chance.random()
        if what < 0.005:
            session.execute("DELETE FROM users WHERE id = %s", [user_id])
        elif what < 0.01:
            session.execute("UPDATE users SET deleted_at = now() WHERE id = %s", [user_id])
        elif what < 0.5:
            session.execute("UPDATE users SET bio = 'changed' WHERE id = %s", [user_id])
        elif what < 0.55:
            marker = uuid4().hex
            done = session.execute("UPDATE profile_embeddings SET interests = ARRAY[%s] WHERE user_id = %s", [marker, user_id])
            if done.rowcount:
                self.markers[user_id] = marker


def run_until_killed(file: Path, pages: int, seconds: float) -> int:
    """Start an import, and kill it ``seconds`` after it has written a number of ``pages``. Return its exit code."""
    process = start_python(environment(), "-c", CHILD, guide(), file)
    with process:
        assert process.stdout is not None
        for _ in range(pages):
            process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        _, errors = process.communicate()
    assert "Traceback" not in errors, errors
    return process.returncode


@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", storm_seeds(2))
def test_import__killed_while_services_write__loses_nothing(every_store_in_turn: str, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    users = sorted(UserFactory.create_batch(USERS), key=lambda user: user.pk)
    create([*(point(user, index) for index, user in enumerate(users)), models.PointStruct(id=7, vector=vector(7), payload={})])
    services, file, killed = Services(users, seed), tmp_path / "rejects", 0
    with in_thread(services.write_points), in_thread(services.write_rows):
        try:
            begun = time.monotonic()
            while killed < KILLS:
                assert time.monotonic() - begun < LONGEST_SECONDS
                killed += run_until_killed(file, chance.randrange(1, MOST_PAGES), chance.uniform(0, 0.03)) == -signal.SIGKILL
            wait_until(lambda: services.points and services.rows and services.markers, "The services have written")
        finally:
            services.over.set()
    import_all(rejects=file)  # it continues the last run
    import_all(rejects=file)
    last = import_all(rejects=file)
    assert last.continued_after is None and last.written == 0
    agree(services, last.conflicts, rejects(file))


def agree(services: Services, conflicts: int, rejected: dict[str, str]) -> None:
    """Check both stores after the last import."""
    points, rows, found = received(), stored(), embeddings([user.pk for user in services.users])
    bases = {base.user_id: base for base in ImportDigest.objects.all()}
    erased = set(ErasedUser.objects.values_list("user_id", flat=True))
    deleted = set(User.objects.exclude(deleted_at=None).values_list("pk", flat=True))
    in_conflict = {user_id for user_id, reason in rejected.items() if "profile_embeddings" in reason}
    assert len(in_conflict) == conflicts
    assert rejected.keys() - in_conflict == {"7", *map(str, erased | deleted)}
    for user in services.users:
        if user.pk in erased:
            assert user.pk not in rows and user.pk not in bases
        elif user.pk in services.markers:
            # The row that a service changed is never overwritten.
            assert rows[user.pk].interests == [services.markers[user.pk]]
            assert found[user.pk].digest != bases[user.pk].stored
        elif user.pk not in deleted:
            assert bits(rows[user.pk].vector) == bits(points[str(user.pk)])
            row = found[user.pk]
            assert bases[user.pk].stored == bases[user.pk].point == digest(row.vector, row.location, row.interests, row.video_features)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM vector_sync_queue WHERE user_id IN (SELECT user_id FROM profile_embeddings)")
        assert cursor.fetchone()[0] > 0
