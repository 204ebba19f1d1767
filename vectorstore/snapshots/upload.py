"""Upload the files of a snapshot to the servers and recover the shards from them."""

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
"""How long the replicas of a cluster may take to become active after one of them was recovered."""
UPLOAD_PREFIX = "findme-restore-"
"""Prefix of the names of uploaded files. A server never gives its own snapshots such a name."""

Files = Sequence[tuple[Contents, str]]
"""The content of each file, with its SHA-256."""


def recover_shards(client: QdrantClient, nodes: Sequence[Node], collection: str, files: Files, *, seconds: float, report: Report) -> None:
    """Create ``collection`` from the files.

    The first upload creates the collection. A cluster decides on which nodes its shards are. Each shard that is still empty is then recovered
    on one of its nodes from a file that contains it. Qdrant copies it from there to the other replicas.
    """
    first, *_ = files
    done = _upload(nodes[0], collection, first, seconds, report)
    _wait_for_replicas(client, nodes, collection)
    while missing := sorted(set(range(first[0].shard_number)) - done):
        node, file = next(_pairs(nodes, collection, files, missing[0]), (None, None))
        if node is None or file is None:
            raise UserFacingError(f"No node has shard {missing[0]} of {collection!r}. Check the cluster, then run the command again.")
        done |= _upload(node, collection, file, seconds, report)
        _wait_for_replicas(client, nodes, collection)
    if not client.collection_exists(collection):
        raise UserFacingError(
            f"Qdrant confirmed the restore of {collection!r}, but the collection does not exist. Check Qdrant's log, then run the command again."
        )


def _upload(node: Node, collection: str, file: tuple[Contents, str], seconds: float, report: Report) -> set[int]:
    """Upload the file to ``node`` and return the shards that the node recovered from it.

    Qdrant stores the uploaded file as a snapshot of the new collection, under the uploaded name. It is deleted here, and so are the uploads of
    killed runs. Other snapshots, of an older collection with the same name, are not deleted.
    """
    contents, sha256 = file
    name = f"{UPLOAD_PREFIX}{uuid4().hex}.snapshot"
    run_with_open_session(lambda: upload(node.address, collection, contents.path, sha256, name=name, seconds=seconds, report=report))
    for sent in snapshots_of(node, collection):
        if sent.name.startswith(UPLOAD_PREFIX):
            delete_one(node, sent)
    return local_shards(node, collection) & contents.shards


def _pairs(nodes: Sequence[Node], collection: str, files: Files, shard: int) -> Iterator[tuple[Node, tuple[Contents, str]]]:
    for node in nodes:
        if shard in local_shards(node, collection):
            yield from ((node, file) for file in files if shard in file[0].shards)


def _wait_for_replicas(client: QdrantClient, nodes: Sequence[Node], collection: str) -> None:
    """Wait until every replica is active. The other replicas of a shard copy the recovered one."""
    if len(nodes) == 1:
        return
    for _ in Deadline(REPLICA_SECONDS).polls():
        info = client.collection_cluster_info(collection)
        states = [*(shard.state for shard in info.local_shards), *(shard.state for shard in info.remote_shards)]
        if all(state is ReplicaState.ACTIVE for state in states) and not info.shard_transfers:
            return
        keep_session()
    raise StoreUnavailable(
        f"The replicas of {collection!r} are not all active after {REPLICA_SECONDS:g} s"
        f" ({', '.join(sorted({state.value for state in states}))}). Check that every node runs, then run the command again."
    )


Result = TypeVar("Result")

SLICE_SECONDS = 2.0
"""Interval between two queries that keep the session with the collection lock open."""


def run_with_open_session(work: Callable[[], Result]) -> Result:
    """Call ``work`` in a thread, and keep the session with the collection lock open meanwhile.

    Return or raise what ``work`` returns or raises. ``work`` must not use the database. The thread is a daemon: it does not delay the end of
    the process.
    """
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  # the caller raises it
            done.set_exception(error)

    threading.Thread(target=run, name="snapshot upload", daemon=True).start()
    while not wait([done], timeout=SLICE_SECONDS).done:
        keep_session()
    return done.result()
