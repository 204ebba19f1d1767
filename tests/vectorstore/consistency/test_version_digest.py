from __future__ import annotations

import hashlib
from uuid import uuid4

import pytest
from qdrant_client.models import PointStruct

from tests.support.vectors import unit_vector
from vectorstore.catalog import registry
from vectorstore.consistency import version_digest as module
from vectorstore.consistency.version_digest import VersionDigest, version_digest
from vectorstore.qdrant.connection import qdrant
from vectorstore.schema.initialize import initialize

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def collection(every_store: str) -> str:
    initialize()
    live = registry.live()
    assert live is not None
    return live


def write(collection: str, versions: dict[str | int, object]) -> None:
    with qdrant() as client:
        points = [
            PointStruct(id=point_id, vector=unit_vector(1), payload={} if version is None else {"version": version})
            for point_id, version in versions.items()
        ]
        client.upsert(collection, points, wait=True)


def test_version_digest__empty() -> None:
    live = registry.live()
    assert live is not None
    assert version_digest(live) == VersionDigest(0, 0, hashlib.sha256().hexdigest())


def test_version_digest__by_page__is_the_same_in_any_order_of_writing(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = sorted((str(uuid4()) for _ in range(7)), reverse=True)
    write(collection, {point_id: number for number, point_id in enumerate(ids)})
    found = version_digest(collection)
    assert (found.points, found.highest_version) == (7, 6)
    monkeypatch.setattr(module, "PAGE_SIZE", 2)
    seen: list[int] = []
    assert version_digest(collection, lambda done, total=None, /: seen.append(done)) == found
    assert seen == [2, 4, 6, 7]
    write(collection, {point_id: number for number, point_id in reversed(list(enumerate(ids)))})
    assert version_digest(collection) == found


@pytest.mark.parametrize("version", [7, None, "6", 6.5, [6], True])
def test_version_digest__another_version__is_another_digest(collection: str, version: object) -> None:
    ids = [str(uuid4()) for _ in range(3)]
    write(collection, dict.fromkeys(ids, 6))
    before = version_digest(collection)
    write(collection, {ids[1]: version})
    after = version_digest(collection)
    assert after.digest != before.digest
    assert (after.points, after.highest_version) == (3, 7 if version == 7 else 6)


def test_version_digest__another_id__is_another_digest(collection: str) -> None:
    ids: list[str | int] = [str(uuid4()) for _ in range(2)]
    write(collection, dict.fromkeys(ids, 6))
    before = version_digest(collection)
    write(collection, {7: 6})
    assert version_digest(collection).points == 3
    assert version_digest(collection).digest != before.digest
