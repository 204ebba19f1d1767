"""The embedded store reads pickles, so it trusts only a folder that no other account owns or can write.

Its own files are private to their owner.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from qdrant_client import models

from findme.core.errors import StoreUnusable
from vectorstore.qdrant.connection import qdrant

VECTORS = models.VectorParams(size=2, distance=models.Distance.COSINE)
executed: list[str] = []


class Crafted:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return run, ("code of another account",)


def run(what: str) -> None:
    executed.append(what)


@pytest.fixture
def crafted_store(embedded_qdrant: Path) -> Path:
    """Return the folder of a store whose only point is crafted."""
    executed.clear()
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        client.upsert("a", [models.PointStruct(id=1, vector=[0.6, 0.8], payload={})])
    (storage,) = embedded_qdrant.rglob("*.sqlite")
    with closing(sqlite3.connect(storage)) as database:
        database.execute("UPDATE points SET point = ?", (pickle.dumps(Crafted()),))
        database.commit()
    return embedded_qdrant


def refusal() -> str:
    with pytest.raises(StoreUnusable) as raised, qdrant():
        pass
    return str(raised.value)


def test_qdrant__crafted_point_in_a_trusted_folder__runs_its_code(crafted_store: Path) -> None:
    """The other tests rely on this."""
    with pytest.raises(StoreUnusable, match="is damaged"), qdrant():
        pass
    assert executed == ["code of another account"]


def test_qdrant__folder_writable_by_others__is_not_read(crafted_store: Path) -> None:
    crafted_store.chmod(0o777)
    assert refusal() == (
        f"QDRANT_PATH is '{crafted_store}', which is writable by other accounts (mode 0777): nothing was read."
        " Only you or root may own and write it: correct that, or name another folder."
    )
    assert executed == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two accounts")
@pytest.mark.parametrize("what", ["", "meta.json", "collection/a", "collection/a/storage.sqlite"])
def test_qdrant__folder_or_file_of_another_account__is_not_read(what: str, crafted_store: Path) -> None:
    os.chown(crafted_store / what, 65534, 65534)
    assert "belongs to " in refusal()
    assert executed == []


def test_qdrant__link_to_another_folder__is_not_read(crafted_store: Path) -> None:
    (crafted_store / "collection").rename(crafted_store.parent / "elsewhere")
    (crafted_store / "collection").symlink_to(crafted_store.parent / "elsewhere")
    assert f"and '{crafted_store / 'collection'}' is a link: nothing was read" in refusal()
    assert executed == []


@pytest.mark.parametrize("exists", [False, True])
def test_qdrant__new_files__are_private(exists: bool, embedded_qdrant: Path) -> None:
    before = os.umask(0)
    try:
        if exists:
            embedded_qdrant.mkdir(mode=0o755)
        with qdrant() as client:
            client.create_collection("a", vectors_config=VECTORS)
            client.upsert("a", [models.PointStruct(id=1, vector=[0.6, 0.8], payload={})])
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in embedded_qdrant.rglob("*")}
    assert modes == {path: 0o700 if path.is_dir() else 0o600 for path in modes}
    assert len(modes) == 7
    assert stat.S_IMODE(embedded_qdrant.stat().st_mode) == (0o755 if exists else 0o700)


def test_qdrant__files_of_an_earlier_release_become_private(embedded_qdrant: Path) -> None:
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
    (storage,) = embedded_qdrant.rglob("*.sqlite")
    storage.chmod(0o644)
    with qdrant():
        assert stat.S_IMODE(storage.stat().st_mode) == 0o600
