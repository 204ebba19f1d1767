"""A Qdrant server: one client for a process, proven on its first use."""

from __future__ import annotations

import atexit
import importlib.metadata
import logging
import os
import re
import secrets
import threading
import warnings

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as qdrant_grpc

from findme.core.errors import StoreUnavailable, StoreUnusable
from findme.core.waiting import wait_until
from vectorstore.qdrant.address import Address
from vectorstore.qdrant.errors import CollectionNotFound, translate_server_errors

OWN_CONNECTIONS = {"grpc.use_local_subchannel_pool": 1}
"""gRPC shares connections between clients, also the news that one has just failed: a new client would be told so without trying, for up to two
minutes after the server is back."""

CONSENSUS_SECONDS = 1.0

log = logging.getLogger(__name__)

_clients: dict[tuple[int, Address], QdrantClient] = {}
_connecting = threading.Lock()


def client_of(address: Address, collection: str) -> QdrantClient:
    """The process's client of that server; on first use one whose version has been proven, and whose gRPC port, by COLLECTION if it is there.

    Raises StoreUnavailable in one line. A forked child gets a client of its own, since gRPC does not survive a fork.
    """
    key = (os.getpid(), address)
    with _connecting:
        if key not in _clients:
            _clients[key] = _connected(address, collection)
        return _clients[key]


def forget(address: Address) -> None:
    """Prove the server again on the next use: it may come back as another one."""
    _clients.pop((os.getpid(), address), None)


def _connected(address: Address, collection: str) -> QdrantClient:
    client = _opened(address)
    try:
        with translate_server_errors(address):
            _prove(client, address, collection)
    except BaseException:
        client.close()
        raise
    return client


def _opened(address: Address) -> QdrantClient:
    """The driver's own check of the version only warns, and in a thread of its own; ours is ``_prove``. That a key goes over plain HTTP is said
    by us, and not where it never leaves the machine."""
    if address.api_key and not address.tls and not address.loopback:
        log.warning("QDRANT_API_KEY is sent to %s without encryption: use https://.", address)
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection", category=UserWarning)
    # A client closes itself once more when it goes: at the interpreter's very end that finds no gRPC any more.
    warnings.filterwarnings("ignore", message="Unable to close grpc_channel", category=RuntimeWarning)
    return QdrantClient(
        url=address.url,
        port=address.port,
        grpc_port=address.grpc_port,
        prefer_grpc=bool(address.grpc_port),
        api_key=address.api_key or None,
        timeout=address.timeout,
        grpc_options=dict(OWN_CONNECTIONS),
        check_compatibility=False,
        # Or it looks at every number of every vector for a text to make a vector of, which takes half of the time of an upsert. There is none.
        cloud_inference=True,
    )


def _prove(client: QdrantClient, address: Address, collection: str) -> None:
    version = client.http.service_api.root().version
    _check_version(version, address)
    if address.grpc_port:
        _check_grpc(client, address, version, collection)


def _check_version(version: str, address: Address) -> None:
    client = importlib.metadata.version("qdrant-client")
    oldest, newest = accepted_versions(client)
    numbers = re.match(r"(\d+)\.(\d+)\.", version)
    if numbers is None or not oldest <= (int(numbers[1]), int(numbers[2])) <= newest:
        raise StoreUnusable(
            f"Qdrant at {address} is version {version!r}: qdrant-client {client} works with {_dotted(oldest)} to {_dotted(newest)}."
            " Run a server of one of these versions."
        )


def accepted_versions(client: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the oldest and the newest minor version of a server that works with this version of qdrant-client: Qdrant promises it for those that
    differ by one."""
    major, minor = (int(number) for number in client.split(".")[:2])
    return (major, minor - 1), (major, minor + 1)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _check_grpc(client: QdrantClient, address: Address, version: str, collection: str) -> None:
    """That gRPC reaches the server that REST reaches: the same version, and the same collection on the same peers.

    A peer's id is random, made with the server's storage. Any collection will do; where there is none yet, one is made for a moment.
    """
    listed = client.http.collections_api.get_collections().result
    names = [found.name for found in listed.collections] if listed else []
    by_grpc = client.info().version
    if by_grpc != version:
        raise _another_server(address, f"REST answers as version {version!r}, gRPC as {by_grpc!r}")
    if any(_proven_by(name, client, address) for name in [collection, *names]):
        return
    name = f"findme-proof-{secrets.token_hex(8)}"
    client.http.collections_api.create_collection(name, create_collection=models.CreateCollection(vectors={}))
    try:
        _wait_for_consensus(name, client, address)
        _proven_by(name, client, address)
    finally:
        client.http.collections_api.delete_collection(name)


def _wait_for_consensus(collection: str, client: QdrantClient, address: Address) -> None:
    """The other node of a cluster may hear of a new collection a moment later."""
    wait_until(lambda: _peers_by_grpc(collection, client, address) is not None, CONSENSUS_SECONDS)


def _proven_by(collection: str, client: QdrantClient, address: Address) -> bool:
    """Whether the collection is there, and so is the proof. Raises StoreUnavailable where it speaks against it."""
    rest_peers = _peers_by_rest(collection, client, address)
    if rest_peers is None:
        return False
    grpc_peers = _peers_by_grpc(collection, client, address)
    if grpc_peers is None and _peers_by_rest(collection, client, address) is None:
        return False  # deleted by somebody in between
    if grpc_peers is None:
        raise _another_server(address, f"gRPC knows nothing of the collection {collection!r}")
    if not rest_peers & grpc_peers:
        raise _another_server(address, f"{collection!r} is on other peers there")
    return True


def _peers_by_rest(collection: str, client: QdrantClient, address: Address) -> set[int] | None:
    try:
        with translate_server_errors(address):
            answer = client.http.distributed_api.collection_cluster_info(collection).result
    except CollectionNotFound:
        return None
    assert answer is not None
    return {answer.peer_id, *(shard.peer_id for shard in answer.remote_shards)}


def _peers_by_grpc(collection: str, client: QdrantClient, address: Address) -> set[int] | None:
    request = qdrant_grpc.CollectionClusterInfoRequest(collection_name=collection)
    try:
        with translate_server_errors(address):
            answer = client.grpc_collections.CollectionClusterInfo(request, timeout=address.timeout)
    except CollectionNotFound:
        return None
    except StoreUnavailable as error:
        if isinstance(error.__cause__, grpc.RpcError) and error.__cause__.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise _another_server(address, "gRPC does not accept the key that REST accepts") from error
        raise
    return {answer.peer_id, *(shard.peer_id for shard in answer.remote_shards)}


def _another_server(address: Address, why: str) -> StoreUnusable:
    return StoreUnusable(
        f"QDRANT_GRPC_PORT {address.grpc_port} is not the server of QDRANT_URL {address} ({why}): correct it, or set it to 0 for REST."
    )


@atexit.register
def _close_all() -> None:
    """Those of this process, while gRPC is still whole."""
    for key in [key for key in _clients if key[0] == os.getpid()]:
        _clients.pop(key).close()
