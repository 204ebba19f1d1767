"""``backup`` and ``prune_backups`` are killed at random moments, over and over: no good backup is lost, and the next run leaves nothing of a killed one."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import boto3
import pytest
from django.db import connection

from backups.create import create_backup
from backups.destinations.destination import MANIFEST, Destination
from backups.destinations.opening import open_destination
from backups.listing import list_backups
from backups.manifest import Manifest, signed
from backups.verify import verify_backup
from privacy.ledger.signing import signing_key, verifying_keys
from tests.backups.making import contents, request
from tests.backups.postgresql.test_dump import command_lines
from tests.factories import ProfileEmbeddingFactory
from tests.privacy.ledger.s3 import s3_bucket
from tests.qdrant import QdrantServer
from tests.support.commands import manage, started
from tests.support.seeds import kill_seeds
from tests.support.waiting import DEADLINE_SECONDS, wait_until
from vectorstore.models import StoreState
from vectorstore.schema.initialize import initialize
from vectorstore.snapshots.repository import list_snapshots

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.no_cover]

KILLS = 3
"""Kills of each seed but the first."""
MOMENTS = 0.2, 1.1
"""The earliest and the latest moment of a kill, as shares of the time of a whole run. Before them it reads its settings."""


STORM = int(os.environ.get("STORM_SEEDS", 2))
PLACES = [
    ("folder", 0),
    *(pytest.param("folder", seed, marks=pytest.mark.at_length) for seed in range(1, 1 + STORM)),
    *(pytest.param("s3", seed, marks=pytest.mark.at_length) for seed in range(1, max(STORM, 2))),
]
"""In ``make test-long`` there are two seeds for a folder and one for S3. STORM_SEEDS=17 gives more than 50 kills of each."""


class Place:
    """A destination, and what killed processes can leave in it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.destination: Destination = open_destination(url)
        self._verified: set[str] = set()

    def good(self) -> set[str]:
        """Return the names of the backups that are listed as good. Each of them is whole when it is listed for the first time."""
        found = {one.name for one in list_backups(self.destination, verifying_keys()) if one.is_good}
        for name in found - self._verified:
            verify_backup(self.destination, name, verifying_keys(), ())
        self._verified = found
        return found

    def unfinished(self) -> list[str]:
        """Return everything that belongs to no good backup."""
        good = self.good()
        return [name for name in self._entries() if name.partition("/")[0] not in good] + self._hidden()

    def _entries(self) -> list[str]:
        return contents(Path(self.url))

    def _hidden(self) -> list[str]:
        return [name for name in contents(Path(self.url)) if "/." in name]


class Bucket(Place):
    def _entries(self) -> list[str]:
        bucket, _, folder = self.url.removeprefix("s3://").partition("/")
        found = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{folder}/").get("Contents", [])
        return [one["Key"].removeprefix(f"{folder}/") for one in found]

    def _hidden(self) -> list[str]:
        uploads = boto3.client("s3").list_multipart_uploads(Bucket=self.url.removeprefix("s3://").partition("/")[0])
        return [upload["Key"] for upload in uploads.get("Uploads", [])]


@pytest.fixture
def killed_place(kind: str, place: Path) -> Iterator[Place]:
    if kind == "folder":
        yield Place(str(place))
    else:
        with s3_bucket() as url:
            yield Bucket(f"{url}/backups")


def dumping() -> list[str]:
    """Return the command lines of ``pg_dump`` for the test's database."""
    return [line for line in command_lines().values() if "pg_dump\0" in line and str(connection.settings_dict["NAME"]) in line]


def whole_run(*arguments: object) -> float:
    """Run the command until another process does not have the lock any more, and return the seconds of the run."""
    while True:
        begun = time.monotonic()
        code, _, err = manage(*arguments)
        if code == 0:
            return time.monotonic() - begun
        # The server ends the session of a killed process, and so its lock, a moment later.
        assert "nother process" in err, err


def killed_at_random(chance: random.Random, seconds: float, *arguments: object) -> None:
    process = started(*arguments)
    moment = time.monotonic() + chance.uniform(*MOMENTS) * seconds
    while process.poll() is None and time.monotonic() < moment:
        time.sleep(0.002)
    process.kill()
    _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode in (0, -signal.SIGKILL), err


@pytest.fixture
def padding(killed_place: Place) -> Iterator[None]:
    """Let a dump to S3 have more than one part of an upload."""
    if not isinstance(killed_place, Bucket):
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE padding AS SELECT n, random() AS one, random() AS other FROM generate_series(1, 250_000) n")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE padding")


@pytest.mark.parametrize(("kind", "seed"), PLACES)
def test_backup__killed_at_random__good_ones_stay_and_nothing_else(
    embedded_qdrant: object, killed_place: Place, padding: None, kind: str, seed: int
) -> None:
    _check_backups(killed_place, seed)


def _check_backups(place: Place, seed: int, after_each: Callable[[], None] = lambda: None) -> None:
    chance, seconds = random.Random(seed), whole_run("backup", place.url)
    good = place.good()
    assert len(good) == 1
    for _ in range(KILLS if seed else 1):
        killed_at_random(chance, seconds, "backup", place.url)
        assert good <= place.good()
        whole_run("backup", place.url)
        assert good < place.good()
        assert place.unfinished() == []
        after_each()
        good = place.good()
    wait_until(lambda: not dumping(), "The end of pg_dump")


def copies(place: Place, made: Manifest, days: int) -> list[str]:
    """Add the copies of the backup that are missing, one for each of the days before it. Return their names, the newest first."""
    names = []
    for day in range(1, days + 1):
        moved = [getattr(made, name) - timedelta(days=day) for name in ("begun_at", "ended_at")]
        assert made.postgresql is not None
        postgresql = replace(made.postgresql, snapshot_at=made.postgresql.snapshot_at - timedelta(days=day))
        name = f"{moved[0]:%Y%m%dT%H%M%SZ}-{made.name.rpartition('-')[2]}"
        names.append(name)
        if MANIFEST not in place.destination.files(name):
            for file in made.files:
                with place.destination.read(made.name, file.name) as source, place.destination.write(name, file.name) as sink:
                    sink.write(source.read(file.size))
            copy = replace(made, name=name, begun_at=moved[0], ended_at=moved[1], postgresql=postgresql)
            assert place.destination.create(name, MANIFEST, signed(copy, signing_key()))
    return names


@pytest.mark.parametrize(("kind", "seed"), PLACES)
def test_prune_backups__killed_at_random__those_to_keep_stay_and_nothing_else(
    embedded_qdrant: object, killed_place: Place, kind: str, seed: int
) -> None:
    chance = random.Random(seed)
    made = create_backup(killed_place.destination, request())
    arguments = ("prune_backups", killed_place.url, "--keep-daily", 3)
    kept = {made.name, *copies(killed_place, made, 8)[:2]}
    seconds = whole_run(*arguments)
    assert killed_place.good() == kept
    for _ in range(KILLS if seed else 1):
        copies(killed_place, made, 8)
        killed_at_random(chance, seconds, *arguments)
        assert kept <= killed_place.good()
        whole_run(*arguments)
        assert killed_place.good() == kept
        assert killed_place.unfinished() == []


@pytest.mark.qdrant_server
@pytest.mark.parametrize("seed", kill_seeds(1, 2))
def test_backup__killed_at_random__no_snapshot_stays_on_the_server(qdrant_server: QdrantServer, place: Path, seed: int) -> None:
    initialize()
    ProfileEmbeddingFactory.create_batch(2)

    def check() -> None:
        assert list_snapshots().snapshots == ()
        # An intention stays for an hour, because Qdrant could still be making the snapshot.
        assert not [one for one in StoreState.current().downloads if one.get("snapshots") or not one["is_deleted"]]

    _check_backups(Place(str(place)), seed, check)
