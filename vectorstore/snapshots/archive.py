"""What a snapshot's file holds, read from the file itself: a tar with the collection's settings, and a folder for each shard that the server had."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from findme.core.errors import UserFacingError
from vectorstore.schema.definition import DEFINITION, Change

LARGEST_SETTING = 1 << 20
"""Bytes of a settings file that is read: real ones have some hundred."""

REPLICAS = re.compile(r"(?:\./)?(\d+)/replica_state\.json")


@dataclass(frozen=True, slots=True)
class Contents:
    """``shards`` are those that are in the file, of ``shard_number``. ``peer`` made it, and ``peers`` are all that had shards then."""

    path: Path
    config: dict[str, Any] = field(repr=False)
    shards: frozenset[int]
    shard_number: int
    peer: int
    peers: frozenset[int]


def read_set(paths: Sequence[Path]) -> tuple[Contents, ...]:
    """What the files of one snapshot hold. Raises UserFacingError for what is none, is of another collection than is defined, or is not
    complete."""
    found = [read(path) for path in paths]
    for one in found:
        _refuse_another_kind(one)
    _refuse_incomplete(found)
    return tuple(found)


def read(path: Path) -> Contents:
    """Raises UserFacingError for a file that is no snapshot of a collection."""
    if not path.is_file():
        raise UserFacingError(f"There is no file {str(path)!r}: name one that qdrant_snapshot download has written.")
    try:
        with tarfile.open(path, "r:") as archive:
            return _contents(path, archive)
    except (tarfile.TarError, EOFError, LookupError, ValueError, ArithmeticError, TypeError, AttributeError, RecursionError) as error:
        raise UserFacingError(
            f"{str(path)!r} is no snapshot of a Qdrant collection, or only a part of one ({error}): name another file."
        ) from error


def _contents(path: Path, archive: tarfile.TarFile) -> Contents:
    config: dict[str, Any] = {}
    states: dict[int, dict[str, Any]] = {}
    for member in archive:
        name = member.name.removeprefix("./")
        if name == "config.json":
            config = _json(archive, member)
        elif shard := REPLICAS.fullmatch(name):
            states[int(shard[1])] = _json(archive, member)
    if not states:
        raise ValueError("it holds no shards")
    return Contents(
        path,
        config,
        frozenset(shard for shard, state in states.items() if state["is_local"]),
        int(config["params"]["shard_number"]),
        next(int(state["this_peer_id"]) for state in states.values()),
        frozenset(int(peer) for state in states.values() for peer in state["peers"]),
    )


def _json(archive: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    file = archive.extractfile(member)
    if file is None or member.size > LARGEST_SETTING:
        raise ValueError(f"{member.name} is no file of settings")
    read: dict[str, Any] = json.loads(file.read())
    return read


def _refuse_another_kind(one: Contents) -> None:
    """What cannot be changed in place later. Where the file says nothing it is as Qdrant has it without being told, which is seen when it is there."""
    vectors = _value(one, "params.vectors") or {}
    if (_value(one, "params.vectors.size"), _value(one, "params.vectors.distance")) != (DEFINITION.size, DEFINITION.distance.value):
        raise UserFacingError(
            f"{str(one.path)!r} is of a collection with other vectors ({json.dumps(vectors)[:100]}) than {DEFINITION.size} numbers by"
            f" {DEFINITION.distance.value}: name a snapshot of this project's."
        )
    for setting in DEFINITION.settings:
        found = _value(one, setting.path)
        if setting.change is Change.NEW_COLLECTION and found not in (None, setting.value):
            raise UserFacingError(
                f"{str(one.path)!r} is of a collection whose {setting.path} is {json.dumps(found)[:100]}, and is to be {json.dumps(setting.value)}, which"
                " cannot be changed: name another snapshot, or build the collection anew with manage.py reindex_qdrant."
            )


def _value(one: Contents, path: str) -> Any:
    """Of the collection's settings; None where there is none."""
    node: Any = one.config
    for name in path.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _refuse_incomplete(found: Sequence[Contents]) -> None:
    first = found[0]
    for one in found[1:]:
        if (one.config.get("uuid"), one.shard_number) != (first.config.get("uuid"), first.shard_number):
            raise UserFacingError(f"{str(one.path)!r} is of another collection than {str(first.path)!r}: name the files of one snapshot.")
    missing = frozenset().union(*(one.peers for one in found)) - {one.peer for one in found}
    if missing:
        raise UserFacingError(
            f"The snapshot is of a cluster, and {len(found)} of the files of its {len(found) + len(missing)} nodes are named: without that of"
            f" node {', '.join(map(str, sorted(missing)))} it is not whole."
        )
    lost = frozenset(range(first.shard_number)) - frozenset().union(*(one.shards for one in found))
    if lost:
        raise UserFacingError(
            f"{str(first.path)!r} lacks the shards {', '.join(map(str, sorted(lost)))} of {first.shard_number}: it is not whole."
        )
