"""One client per process for a Qdrant server, checked on its first use."""

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
from vectorstore.qdrant.time_limit import limit_requests

OWN_CONNECTIONS = {"grpc.use_local_subchannel_pool": 1}
"""gRPC shares connections between clients, and also their recent failures.

With a shared connection a new client would fail without trying, for up to two minutes after the server is available again.
"""

CONSENSUS_SECONDS = 1.0

log = logging.getLogger(__name__)

_clients: dict[tuple[int, Address], QdrantClient] = {}
_connecting = threading.Lock()


def client_of(address: Address, collection: str) -> QdrantClient:
    """Return the process's client of the server. On first use, check the server's version and its gRPC port.

    The check of the port uses ``collection`` if it exists. Raise StoreUnavailable in one line. A forked child gets its own client, because gRPC
    does not survive a fork.
    """
    key = (os.getpid(), address)
    with _connecting:
        if key not in _clients:
            _clients[key] = _connected(address, collection)
        return _clients[key]


def forget(address: Address) -> None:
    """Check the server again on the next use, because another server may answer at the address by then."""
    _clients.pop((os.getpid(), address), None)


def _connected(address: Address, collection: str) -> QdrantClient:
    client = _opened(address)
    try:
        with translate_server_errors(address):
            _check_server(client, address, collection)
    except BaseException:
        client.close()
        raise
    return client


def _opened(address: Address) -> QdrantClient:
    """Return a client that is not checked yet.

    The driver's own version check only warns, in another thread: ``_check_server`` replaces it. The warning about a key over plain HTTP is ours
    too, because the driver's also appears for loopback addresses.
    """
    if address.api_key and not address.tls and not address.loopback:
        log.warning(f"{address.names.api_key} is sent to %s without encryption: use https://.", address)  # noqa: G004  # the name of a setting
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection", category=UserWarning)
    # A client closes itself again when it is deleted. At interpreter exit gRPC is unloaded by then.
    warnings.filterwarnings("ignore", message="Unable to close grpc_channel", category=RuntimeWarning)
    client = QdrantClient(
        url=address.url,
        port=address.port,
        grpc_port=address.grpc_port,
        prefer_grpc=bool(address.grpc_port),
        api_key=address.api_key or None,
        timeout=address.timeout,
        grpc_options=dict(OWN_CONNECTIONS),
        check_compatibility=False,
        # Without this, the client searches every number of every vector for a text to embed, which takes half of the time of an upsert.
        cloud_inference=True,
    )
    limit_requests(client)
    return client


def _check_server(client: QdrantClient, address: Address, collection: str) -> None:
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
            f"Qdrant at {address} is version {version!r}: qdrant-client {client} supports {_dotted(oldest)} to {_dotted(newest)}."
            " Run a server of one of these versions."
        )


def accepted_versions(client: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the oldest and the newest minor version of a server for this version of qdrant-client.

    Qdrant guarantees that minor versions work together if they differ by one.
    """
    major, minor = (int(number) for number in client.split(".")[:2])
    return (major, minor - 1), (major, minor + 1)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _check_grpc(client: QdrantClient, address: Address, version: str, collection: str) -> None:
    """Raise StoreUnusable unless gRPC and REST reach the same server.

    Both must report the same version, and the same collection on the same peers. A peer's id is random and created with the server's storage. Any
    collection can be compared. If there is none, a temporary one is created, except at an address for reading only.
    """
    listed = client.http.collections_api.get_collections().result
    names = [found.name for found in listed.collections] if listed else []
    by_grpc = client.info().version
    if by_grpc != version:
        raise _another_server(address, f"REST answers as version {version!r}, gRPC as {by_grpc!r}")
    if any(_has_same_peers(name, client, address) for name in [collection, *names]) or address.read_only:
        return
    name = f"findme-proof-{secrets.token_hex(8)}"
    client.http.collections_api.create_collection(name, create_collection=models.CreateCollection(vectors={}))
    try:
        _wait_for_consensus(name, client, address)
        _has_same_peers(name, client, address)
    finally:
        client.http.collections_api.delete_collection(name)


def _wait_for_consensus(collection: str, client: QdrantClient, address: Address) -> None:
    """Wait until the node that answers by gRPC knows the new collection. In a cluster this takes a moment."""
    wait_until(lambda: _peers_by_grpc(collection, client, address) is not None, CONSENSUS_SECONDS)


def _has_same_peers(collection: str, client: QdrantClient, address: Address) -> bool:
    """Return True if REST and gRPC report the collection on the same peers, and False if it does not exist.

    Raise StoreUnusable if they reach different servers.
    """
    rest_peers = _peers_by_rest(collection, client, address)
    if rest_peers is None:
        return False
    grpc_peers = _peers_by_grpc(collection, client, address)
    if grpc_peers is None and _peers_by_rest(collection, client, address) is None:
        return False  # Another process deleted it in between.
    if grpc_peers is None:
        raise _another_server(address, f"gRPC does not know the collection {collection!r}")
    if not rest_peers & grpc_peers:
        raise _another_server(address, f"by gRPC {collection!r} is on other peers")
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
        f"{address.names.grpc_port} {address.grpc_port} is not the server of {address.names.url} {address} ({why}): correct it, or set it to 0 for REST."
    )


@atexit.register
def _close_all() -> None:
    """Close the clients of this process while gRPC is still loaded."""
    for key in [key for key in _clients if key[0] == os.getpid()]:
        _clients.pop(key).close()
