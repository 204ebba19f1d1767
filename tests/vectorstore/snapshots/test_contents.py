import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from findme.core.errors import UserFacingError
from vectorstore.snapshots.archive import read, read_set

NODES = (11, 12, 13)
VECTORS = {"size": 512, "distance": "Cosine"}


def write_tar(path: Path, files: dict[str, Any]) -> Path:
    """Write a tar file as Qdrant does."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(encoded)
            archive.addfile(member, io.BytesIO(encoded))
    return path


def write_node_snapshot(path: Path, peer: int, shards: int = 3, **config: Any) -> Path:
    """Write the snapshot of one of three nodes. Each shard has a replica on two neighboring nodes."""
    files: dict[str, Any] = {"config.json": {"params": {"vectors": VECTORS, "shard_number": shards}, "uuid": "a", "metadata": {}} | config}
    for shard in range(shards):
        peers = [NODES[shard % 3], NODES[(shard + 1) % 3]]
        files[f"{shard}/replica_state.json"] = {
            "is_local": peer in peers,
            "this_peer_id": peer,
            "peers": {str(one): "Active" for one in peers},
        }
    return write_tar(path, files)


@pytest.fixture
def nodes(tmp_path: Path, settings: Settings) -> list[Path]:
    settings.QDRANT_SHARD_NUMBER = 3
    return [write_node_snapshot(tmp_path / f"{peer}.snapshot", peer) for peer in NODES]


def test_read_set__files_of_every_node__returns_the_shards_of_each(nodes: list[Path]) -> None:
    found = read_set(nodes)
    assert [sorted(one.shards) for one in found] == [[0, 2], [0, 1], [1, 2]]
    assert [one.peer for one in found] == [11, 12, 13]
    assert {one.shard_number for one in found} == {3}


def test_read_set__file_of_a_node_is_missing__is_refused(nodes: list[Path]) -> None:
    """The other files may hold every shard, but the replicas of the missing node could differ."""
    with pytest.raises(
        UserFacingError,
        match=r"^The snapshot is of a cluster of 3 nodes, but only 2 of their files are named\. Name the file of node 13 too\.$",
    ):
        read_set(nodes[:2])
    with pytest.raises(UserFacingError, match=r"only 1 of their files are named\. Name the file of node 11, 13 too\.$"):
        read_set([nodes[1]])
    with pytest.raises(UserFacingError, match=r"Name the file of node 13 too\.$"):
        read_set([nodes[0], nodes[1], nodes[0]])


def test_read_set__files_of_two_snapshots__is_refused(nodes: list[Path], tmp_path: Path) -> None:
    other = write_node_snapshot(tmp_path / "other.snapshot", 13, uuid="b")
    with pytest.raises(
        UserFacingError, match=r"'.*/other\.snapshot' and '.*/11\.snapshot' are of different collections\. Name the files of one snapshot\."
    ):
        read_set([*nodes[:2], other])


def test_read_set__shard_is_missing_from_all_files__is_refused(tmp_path: Path, settings: Settings) -> None:
    settings.QDRANT_SHARD_NUMBER = 2
    config = {"params": {"vectors": VECTORS, "shard_number": 2}}
    state = {"is_local": True, "this_peer_id": 1, "peers": {"1": "Active"}}
    path = write_tar(tmp_path / "a.snapshot", {"config.json": config, "0/replica_state.json": state})
    with pytest.raises(UserFacingError, match=r"'.*/a\.snapshot' lacks the shards 1 of 2\. Name a complete snapshot\.$"):
        read_set([path])


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ({"size": 4, "distance": "Cosine"}, '{"size": 4, "distance": "Cosine"}'),
        ({"size": 512, "distance": "Dot"}, '{"size": 512, "distance": "Dot"}'),
        ({"face": VECTORS}, '{"face": {"size": 512, "distance": "Cosine"}}'),
        (None, "{}"),
        ("x", '"x"'),
        ([1], "[1]"),
        ({"size": [512], "distance": {}}, '{"size": [512], "distance": {}}'),
    ],
)
def test_read_set__other_vectors__is_refused(tmp_path: Path, vectors: Any, words: str) -> None:
    path = write_node_snapshot(tmp_path / "a.snapshot", 11, params={"vectors": vectors, "shard_number": 3})
    line = f"The vectors in {str(path)!r} ({words}) do not have 512 dimensions with distance Cosine. Name a snapshot of this project."
    with pytest.raises(UserFacingError, match=f"^{re.escape(line)}$"):
        read_set([path])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"params": {"vectors": VECTORS, "shard_number": 3}}, "params.shard_number is 3 instead of 1"),
        ({"params": {"vectors": VECTORS, "shard_number": 10**15}}, "params.shard_number is 1000000000000000 instead of 1"),
        ({"wal_config": {"wal_capacity_mb": 64}}, "wal_config.wal_capacity_mb is 64 instead of 32"),
        ({"optimizer_config": {"max_segment_size": 7}}, "optimizer_config.max_segment_size is 7 instead of null"),
    ],
)
def test_read_set__setting_that_cannot_be_changed__is_refused(tmp_path: Path, config: Any, words: str) -> None:
    path = write_node_snapshot(tmp_path / "a.snapshot", 11, **({"params": {"vectors": VECTORS, "shard_number": 1}} | config))
    line = (
        f"In {str(path)!r}, {words} and cannot be changed. Name another snapshot, or rebuild the collection with manage.py reindex_qdrant."
    )
    with pytest.raises(UserFacingError, match=f"^{re.escape(line)}$"):
        read_set([path])


@pytest.mark.parametrize(
    "content",
    [b"", b"no tar at all", b"\0" * 10_240, b"PK\x03\x04" + b"x" * 2000],
)
def test_read__not_a_tar__is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.snapshot"
    path.write_bytes(content)
    with pytest.raises(
        UserFacingError,
        match=rf"^{re.escape(repr(str(path)))} is not a complete snapshot of a Qdrant collection \(.*\)\. Name another file\.$",
    ):
        read(path)


@pytest.mark.parametrize(
    "files",
    [
        {"a.json": {}},
        {"0/replica_state.json": {"is_local": True, "this_peer_id": 1, "peers": {}}},
        {"config.json": {}, "0/replica_state.json": {"is_local": True, "this_peer_id": 1, "peers": {}}},
        {"config.json": [], "0/replica_state.json": []},
        {"config.json": b"[" * 200_000, "0/replica_state.json": {"is_local": True, "this_peer_id": 1, "peers": {}}},
        {"config.json": {"params": {"shard_number": 1}}, "0/replica_state.json": b'{"is_local": true, "this_peer_id": 1e999, "peers": {}}'},
        {"config.json": {"params": {"shard_number": 1}}, "0/replica_state.json": {"is_local": True, "this_peer_id": "x", "peers": {}}},
    ],
)
def test_read__tar_without_a_snapshot__is_refused(tmp_path: Path, files: dict[str, Any]) -> None:
    path = write_tar(tmp_path / "a.snapshot", files)
    with pytest.raises(UserFacingError, match="is not a complete snapshot of a Qdrant collection"):
        read(path)


def test_read__no_file__is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "a.snapshot", tmp_path):
        with pytest.raises(
            UserFacingError,
            match=f"^There is no file {re.escape(repr(str(path)))}\\. Name a file that manage.py qdrant_snapshot download has written\\.$",
        ):
            read(path)
