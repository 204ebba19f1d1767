"""The collection that is imported: its server, its name and its vector, checked before anything is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from qdrant_client import QdrantClient
from qdrant_client.models import CollectionParams, Distance, StrictModeConfigOutput, VectorParams

from findme.core.errors import UserFacingError
from vectorstore.catalog.alias import collection_names
from vectorstore.catalog.ownership import DATABASE, database_id
from vectorstore.models import VECTOR_SIZE
from vectorstore.qdrant.address import Address, Names, checked_address, for_reading, server_address
from vectorstore.qdrant.connection import NAME, is_embedded, qdrant_at
from vectorstore.qdrant.key_file import read_key

OPTIONS = Names("--from-url", "--from-api-key-file", "--from-grpc-port")
MOST_NAMES = 10
"""Collections or vectors that an error names."""


@dataclass(frozen=True, slots=True)
class Source:
    """One vector of a real collection.

    ``address`` None stands for the embedded store. ``alias`` is the name as given, if it is an alias. ``vector`` is the name of the vector, empty if
    it has none. ``points`` is an estimate of their number. ``most_in_a_page``: the points that Qdrant sends at once, None without a limit.
    """

    address: Address | None
    collection: str
    alias: str | None
    vector: str
    distance: str
    points: int
    most_in_a_page: int | None
    metadata: Mapping[str, Any]

    @property
    def is_cosine(self) -> bool:
        return self.distance == Distance.COSINE.value

    @property
    def is_normalized(self) -> bool:
        """Return whether the vectors have length 1, whatever was sent. The embedded store keeps the length, a server does not."""
        return self.is_cosine and self.address is not None

    @property
    def is_own(self) -> bool:
        """Return whether this database writes the collection."""
        return self.metadata.get(DATABASE) == database_id()

    @property
    def place(self) -> str:
        """Return the store without the collection, as ``store_place`` does."""
        return store_place(self.address)


def store_place(address: Address | None) -> str:
    """Return the URL of a server, or for None the folder of the embedded store. ``VectorImport.place`` has this form."""
    return os.path.realpath(settings.QDRANT_PATH) if address is None else address.url.rstrip("/")


def address_from(url: str | None, api_key_file: Path | None, grpc_port: int | None) -> Address | None:
    """Return the server of the options, or that of the settings if there is no ``url``. None is the embedded store.

    Raise UserFacingError.
    """
    if url is not None:
        key = "" if api_key_file is None else read_key(api_key_file)
        return for_reading(checked_address(url, key, grpc_port or 0, OPTIONS))
    if api_key_file is not None or grpc_port is not None:
        raise UserFacingError(f"{OPTIONS.api_key} and {OPTIONS.grpc_port} need {OPTIONS.url}. Add it, or omit them: nothing was done.")
    return None if is_embedded() else for_reading(server_address())


def checked_source(address: Address | None, name: str, vector: str | None) -> Source:
    """Return the collection behind ``name``, which may be an alias.

    Raise UserFacingError if it does not exist, or has no such vector of the right size. Raise StoreUnavailable.
    """
    if not NAME.fullmatch(name):
        raise UserFacingError(
            f"{name[:60]!r} cannot be part of a URL: nothing was done. Give the collection an alias of at most 200 letters, digits, '_', '-' and '.'."
        )
    with qdrant_at(address, name) as client:
        aliases, collections = _aliases(client), collection_names(client)
        collection = aliases.get(name, name)
        if collection not in collections:
            raise _no_collection(address, name, sorted(collections | aliases.keys()))
        found = client.get_collection(collection)
        chosen, distance = _vector(collection, found.config.params, vector)
        return Source(
            address,
            collection,
            None if collection == name else name,
            chosen,
            distance,
            client.count(collection, exact=False).count,
            _most_in_a_page(found.config.strict_mode_config),
            found.config.metadata or {},
        )


def _aliases(client: QdrantClient) -> dict[str, str]:
    return {alias.alias_name: alias.collection_name for alias in client.get_aliases().aliases}


def _most_in_a_page(strict_mode: StrictModeConfigOutput | None) -> int | None:
    """Return the limit of the collection's strict mode. Qdrant rejects a larger page."""
    return strict_mode.max_query_limit if strict_mode is not None and strict_mode.enabled else None


def _no_collection(address: Address | None, name: str, found: list[str]) -> UserFacingError:
    where = "The embedded vector store" if address is None else f"Qdrant at {address}"
    return UserFacingError(f"{where} has no collection {name!r}: nothing was done. It has {_listed(found)}.")


def _vector(collection: str, params: CollectionParams, name: str | None) -> tuple[str, str]:
    """Return the name and the distance of the vector to import. Raise UserFacingError."""
    vectors, sparse = params.vectors, params.sparse_vectors or {}
    found = {"": vectors} if isinstance(vectors, VectorParams) else dict(vectors or {})
    if name is not None and name in sparse:
        raise UserFacingError(
            f"The vector {name!r} of {collection!r} is sparse, and FindMe stores dense ones: nothing was done. {_offer(found)}"
        )
    if (name or "") not in found:
        has = f"has no vector {name!r}" if name is not None else "has no vector without a name"
        raise UserFacingError(f"{collection!r} {has}: nothing was done. {_offer(found)}")
    chosen = found[name or ""]
    label = f"The vector {name!r}" if name else "The vector"
    if chosen.multivector_config is not None:
        raise UserFacingError(
            f"{label} of {collection!r} is a multivector, and FindMe stores one vector per user: nothing was done. {_offer(found)}"
        )
    if chosen.size != VECTOR_SIZE:
        raise UserFacingError(
            f"{label} of {collection!r} has {chosen.size} numbers, and FindMe stores {VECTOR_SIZE}: nothing was done. {_offer(found)}"
        )
    return name or "", chosen.distance.value


def _offer(vectors: Mapping[str, VectorParams]) -> str:
    """Return what can be imported, as a sentence."""
    sizes_of = {name: params.size for name, params in sorted(vectors.items()) if params.multivector_config is None}
    fitting = [name for name, size in sizes_of.items() if size == VECTOR_SIZE]
    if not fitting:
        sizes = [f"{name!r} ({size})" if name else f"one without a name ({size})" for name, size in sizes_of.items()]
        return f"Its dense vectors: {_listed(sizes)}."
    return "Omit --vector." if fitting == [""] else f"Choose one with --vector: {_listed([repr(name) for name in fitting])}."


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{more}" if names else "none"
