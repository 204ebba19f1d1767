"""Read and validate the content of snapshot files.

A snapshot is a tar file with the settings of the collection and one folder for each shard of the server.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from findme.core.errors import UserFacingError, ends_of, one_line
from vectorstore.schema.definition import DEFINITION, Change

LARGEST_SETTING = 1 << 20
"""Maximum size of a settings file, in bytes. Real files have a few hundred bytes."""

REPLICAS = re.compile(r"(?:\./)?(\d+)/replica_state\.json")


@dataclass(frozen=True, slots=True)
class Contents:
    """Content of one snapshot file.

    ``shards`` are the shards in this file, out of ``shard_number``. ``peer`` made the file. ``peers`` are all nodes that had shards at that time.
    """

    path: Path
    config: dict[str, Any] = field(repr=False)
    shards: frozenset[int]
    shard_number: int
    peer: int
    peers: frozenset[int]


def read_set(paths: Sequence[Path]) -> tuple[Contents, ...]:
    """Return the contents of the files of one snapshot.

    Raises UserFacingError for a file that is not a snapshot, for a collection that differs from the definition, and for an incomplete set.
    """
    found = _read_all(paths)
    for one in found:
        _require_matching_definition(one)
    _require_complete(found)
    return found


def read_complete(paths: Sequence[Path]) -> tuple[Contents, ...]:
    """Return the contents of the files of one snapshot, whatever their collection's settings are.

    Raises UserFacingError for a file that is not a snapshot, and for an incomplete set.
    """
    found = _read_all(paths)
    _require_complete(found)
    return found


def _read_all(paths: Sequence[Path]) -> tuple[Contents, ...]:
    return tuple(read(path) for path in paths)


def read(path: Path) -> Contents:
    """Return the content of one file. Raises UserFacingError for a file that is not a snapshot of a collection."""
    if not path.is_file():
        raise UserFacingError(f"There is no file {str(path)!r}. Name a file that manage.py qdrant_snapshot download has written.")
    try:
        with tarfile.open(path, "r:") as archive:
            return _contents(path, archive)
    except (tarfile.TarError, EOFError, LookupError, ValueError, ArithmeticError, TypeError, AttributeError, RecursionError) as error:
        raise UserFacingError(
            f"{str(path)!r} is not a complete snapshot of a Qdrant collection ({ends_of(one_line(error))}). Name another file."
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
        raise ValueError("it contains no shards")
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
        raise ValueError(f"{member.name} is not a settings file")
    read: dict[str, Any] = json.loads(file.read())
    return read


def _require_matching_definition(one: Contents) -> None:
    """Raise UserFacingError if a setting that cannot be changed in place differs from the definition.

    A setting that the file does not contain has Qdrant's default value. That value is compared after the restore.
    """
    vectors = _value(one, "params.vectors") or {}
    if (_value(one, "params.vectors.size"), _value(one, "params.vectors.distance")) != (DEFINITION.size, DEFINITION.distance.value):
        raise UserFacingError(
            f"The vectors in {str(one.path)!r} ({json.dumps(vectors)[:100]}) do not have {DEFINITION.size} dimensions with distance"
            f" {DEFINITION.distance.value}. Name a snapshot of this project."
        )
    for setting in DEFINITION.settings:
        found = _value(one, setting.path)
        if setting.change is Change.NEW_COLLECTION and found not in (None, setting.value):
            raise UserFacingError(
                f"In {str(one.path)!r}, {setting.path} is {json.dumps(found)[:100]} instead of {json.dumps(setting.value)} and cannot be changed. Name"
                " another snapshot, or rebuild the collection with manage.py reindex_qdrant."
            )


def _value(one: Contents, path: str) -> Any:
    """Return the collection setting at the dotted ``path``, or None."""
    node: Any = one.config
    for name in path.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _require_complete(found: Sequence[Contents]) -> None:
    first = found[0]
    for one in found[1:]:
        if (one.config.get("uuid"), one.shard_number) != (first.config.get("uuid"), first.shard_number):
            raise UserFacingError(
                f"{str(one.path)!r} and {str(first.path)!r} are of different collections. Name the files of one snapshot."
            )
    missing = frozenset().union(*(one.peers for one in found)) - {one.peer for one in found}
    if missing:
        raise UserFacingError(
            f"The snapshot is of a cluster of {len(found) + len(missing)} nodes, but only {len(found)} of their files are named. Name the file of"
            f" node {', '.join(map(str, sorted(missing)))} too."
        )
    lost = frozenset(range(first.shard_number)) - frozenset().union(*(one.shards for one in found))
    if lost:
        raise UserFacingError(
            f"{str(first.path)!r} lacks the shards {', '.join(map(str, sorted(lost)))} of {first.shard_number}. Name a complete snapshot."
        )
