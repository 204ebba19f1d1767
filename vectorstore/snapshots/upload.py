"""Files of a snapshot, given to the servers that are to have their shards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar
from uuid import uuid4

from qdrant_client import QdrantClient
from qdrant_client.models import ReplicaState

from findme.core.commands.progress import Report
from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.waiting import Deadline
from vectorstore.catalog.lock import keep_session
from vectorstore.snapshots.archive import Contents
from vectorstore.snapshots.nodes import Node, local_shards
from vectorstore.snapshots.repository import delete_one, snapshots_of
from vectorstore.snapshots.transfer import upload

REPLICA_SECONDS = 300.0
"""How long the replicas of a cluster may take to agree after one of them was recovered."""
SENT = "findme-restore-"
"""What the names begin with that files are sent with: no snapshot that a server makes has such a name."""

Files = Sequence[tuple[Contents, str]]
"""What each holds, with its SHA-256."""


def recover_shards(client: QdrantClient, nodes: Sequence[Node], collection: str, files: Files, *, seconds: float, report: Report) -> None:
    """Make COLLECTION of the files.

    The first one that comes makes the collection, on a cluster with its shards wherever the cluster puts them; each shard that is still empty
    then comes from a file that has it, at a node that is to have it, and goes from there to its other replicas.
    """
    first, *_ = files
    done = _give(nodes[0], collection, first, seconds, report)
    _wait_for_replicas(client, nodes, collection)
    while missing := sorted(set(range(first[0].shard_number)) - done):
        node, file = next(_pairs(nodes, collection, files, missing[0]), (None, None))
        if node is None or file is None:
            raise UserFacingError(f"No node has been given shard {missing[0]} of {collection!r}: look at the cluster, and run it again.")
        done |= _give(node, collection, file, seconds, report)
        _wait_for_replicas(client, nodes, collection)
    if not client.collection_exists(collection):
        raise UserFacingError(
            f"Qdrant says that {collection!r} is made of the snapshot, and it is not there: look at its log, and run it again."
        )


def _give(node: Node, collection: str, file: tuple[Contents, str], seconds: float, report: Report) -> set[int]:
    """The shards that the node has taken of it. Qdrant keeps the file that it was sent, as a snapshot of the new collection, under the name that it was
    sent with: it goes, as does what others left who were killed over it. What an older collection of the same name has left is not ours to delete."""
    contents, sha256 = file
    name = f"{SENT}{uuid4().hex}.snapshot"
    beside_session(lambda: upload(node.address, collection, contents.path, sha256, name=name, seconds=seconds, report=report))
    for sent in snapshots_of(node, collection):
        if sent.name.startswith(SENT):
            delete_one(node, sent)
    return local_shards(node, collection) & contents.shards


def _pairs(nodes: Sequence[Node], collection: str, files: Files, shard: int) -> Iterator[tuple[Node, tuple[Contents, str]]]:
    for node in nodes:
        if shard in local_shards(node, collection):
            yield from ((node, file) for file in files if shard in file[0].shards)


def _wait_for_replicas(client: QdrantClient, nodes: Sequence[Node], collection: str) -> None:
    """Until every replica is active: the others of a shard take over what the one that was recovered has."""
    if len(nodes) == 1:
        return
    for _ in Deadline(REPLICA_SECONDS).polls():
        info = client.collection_cluster_info(collection)
        states = [*(shard.state for shard in info.local_shards), *(shard.state for shard in info.remote_shards)]
        if all(state is ReplicaState.ACTIVE for state in states) and not info.shard_transfers:
            return
        keep_session()
    raise StoreUnavailable(
        f"The replicas of {collection!r} do not agree after {REPLICA_SECONDS:g} s ({', '.join(sorted({state.value for state in states}))}):"
        " see whether every node runs, and run it again."
    )


Result = TypeVar("Result")

SLICE_SECONDS = 2.0
"""Between two signs of life."""


def beside_session(work: Callable[[], Result]) -> Result:
    """What WORK gives or raises, which needs no database, in a thread of its own. Whoever ends the process need not wait for it."""
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is raised to whoever asked
            done.set_exception(error)

    threading.Thread(target=run, name="beside the session", daemon=True).start()
    while not wait([done], timeout=SLICE_SECONDS).done:
        keep_session()
    return done.result()
