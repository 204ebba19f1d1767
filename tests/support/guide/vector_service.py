"""A service that writes a new vector for a user again and again, as a process: until its standard input ends.

    python -m tests.support.guide.vector_service KIND ADDRESS SEED PAUSE_SECONDS

``KIND`` is ``qdrant`` (points, as the guide's services write them; a URL), ``go`` (the same by the guide's Go code; a program) or ``postgresql`` (rows
of ``profile_embeddings``, as services write them with FindMe; a conninfo). The first line of its standard input is a list of points (``Point.as_json``). At the end it prints what it has written (``Written``).
"""

from __future__ import annotations

import itertools
import json
import random
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from qdrant_client import QdrantClient

from findme.environment import BASE_DIR
from tests.support.guide.points import Point, insert
from tests.support.untraced import untraced
from tests.support.vectors import unit_vector

PAUSE_SECONDS = 0.02
"""Between two writes."""
FIRST = 4
"""The users whose vectors are written before the service says that it has started: however short a test is, so many are compared."""
STARTED = "started"
STORE = """
    INSERT INTO profile_embeddings (user_id, vector, location, interests, video_features)
    VALUES (%s, %s, jsonb_build_object('lat', %s::float8, 'lon', %s::float8), %s, %s)
    ON CONFLICT (user_id) DO UPDATE SET vector = EXCLUDED.vector
"""
Write = Callable[[Point], object]


@dataclass
class Written:
    """The seed of the last vector of each user (``unit_vector``), and the errors."""

    seeds: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def vectors(self) -> dict[UUID, list[float]]:
        return {UUID(user_id): unit_vector(seed) for user_id, seed in self.seeds.items()}


@contextmanager
def writer(kind: str, address: str) -> Iterator[Write]:
    if kind == "qdrant":
        client = QdrantClient(url=address)
        yield lambda point: insert(client, [point])
        client.close()
    elif kind == "go":
        with subprocess.Popen([address, "insert"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            yield lambda point: _insert_by_go(process, point)
            process.stdin.close()
    else:
        with psycopg.connect(address, autocommit=True) as session:
            yield lambda point: _store(session, point)


def _insert_by_go(process: subprocess.Popen[str], point: Point) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{json.dumps(point.as_json())}\n")
    process.stdin.flush()
    if process.stdout.readline().strip() != str(point.user_id):
        raise RuntimeError("the program has ended")


def _store(session: psycopg.Connection[Any], point: Point) -> None:
    location, interests, features = (point.payload[name] for name in ("location", "interests", "video_features"))
    session.execute(STORE, [point.user_id, point.embedding, location["lat"], location["lon"], interests, features])


def main(kind: str, address: str, first_seed: int, pause_seconds: float) -> None:
    points = [Point(UUID(one["user_id"]), one["embedding"], one["payload"]) for one in json.loads(sys.stdin.readline())]
    written, chance = Written(), random.Random(first_seed)
    first = points[:FIRST]
    with writer(kind, address) as write:
        for count, seed in enumerate(itertools.count(first_seed)):
            if count == len(first):
                print(STARTED, flush=True)  # noqa: T201  # for the process that started this one
            if count >= len(first) and select.select([sys.stdin], [], [], pause_seconds)[0]:
                break
            point = first[count] if count < len(first) else chance.choice(points)
            try:
                write(Point(point.user_id, unit_vector(seed), point.payload))
            except Exception as error:  # noqa: BLE001  # the test reads it
                written.errors.append(f"{type(error).__name__}: {error}")
            else:
                written.seeds[str(point.user_id)] = seed
    json.dump(vars(written), sys.stdout)


class VectorService:
    """The process. ``end`` returns what it has written."""

    def __init__(
        self, kind: str, address: str, points: Sequence[Point], first_seed: int, pause_seconds: float = PAUSE_SECONDS, **variables: str
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.guide.vector_service", kind, address, str(first_seed), str(pause_seconds)],
            cwd=BASE_DIR,
            env=untraced() | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps([point.as_json() for point in points])}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == STARTED

    def end(self) -> Written:
        out, err = self.process.communicate("", timeout=120)
        assert self.process.returncode == 0, err
        return Written(**json.loads(out))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
