"""Memory of an import does not grow with the number of points, measured in a separate process."""

from __future__ import annotations

from uuid import uuid4

import pytest
from qdrant_client import models

from tests.factories import UserFactory
from tests.qdrant import QdrantServer
from tests.support.commands import run_python
from tests.vectorstore.ingest.from_qdrant.guide_points import create, guide, point, vector, write

USERS = 1000
ALLOWED_GROWTH = 8
"""MiB. The vectors of the additional points alone need 12 MB, and much more as Python floats."""
LIMIT = 256
"""MiB, also for the largest points."""

CHILD = """
import resource, sys
from vectorstore.ingest.from_qdrant.run import import_embeddings
from vectorstore.ingest.from_qdrant.source import address_from, checked_source

for name in sys.argv[1:]:
    imported = import_embeddings(checked_source(address_from(None, None, None), name, None))
    print(imported.read, imported.rejected, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""

IDLE = """
import resource
import vectorstore.ingest.from_qdrant.run
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def measured(*names: str) -> list[list[int]]:
    code, printed, errors = run_python(CHILD, *names)
    assert code == 0, errors
    return [[int(number) for number in line.split()] for line in printed.splitlines()]


@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.at_length
@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_import__larger_collection__needs_no_more_memory(server: QdrantServer) -> None:
    """The points of the second collection are six times as many: 1,000 are imported, and the others have no user."""
    users = UserFactory.create_batch(USERS)
    small, large = f"{guide()}_small", f"{guide()}_large"
    for name in (small, large):
        create((point(user, 1) for user in users), name)
    for _ in range(5):
        write((models.PointStruct(id=str(uuid4()), vector=vector(1), payload={"interests": ["sea"]}) for _ in users), large)
    (read, _, first), (more, rejected, second) = measured(small, large)
    assert (read, more, rejected) == (USERS, 6 * USERS, 5 * USERS)
    assert second - first < ALLOWED_GROWTH


@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.at_length
@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_import__largest_points__stays_within_the_limit(server: QdrantServer) -> None:
    users = UserFactory.create_batch(1500)
    interests = ["\u20ac" * 97 + f"{number:03}" for number in range(100)]
    create()
    for start in range(0, len(users), 100):
        write(point(user, 1, interests=interests, video_features=[0.5] * 1024) for user in users[start : start + 100])
    [(read, rejected, peak)] = measured(guide())
    assert (read, rejected) == (1500, 0)
    assert peak - memory_of_an_idle_process() < LIMIT


def memory_of_an_idle_process() -> int:
    """Return the memory of a process that has imported the module only, in MiB."""
    code, printed, errors = run_python(IDLE)
    assert code == 0, errors
    return int(printed)
