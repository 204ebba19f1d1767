"""The live collection as Qdrant has it, with its alias and its rows in the registry."""

from __future__ import annotations

from dataclasses import dataclass, field

from qdrant_client import QdrantClient
from qdrant_client.models import CollectionInfo

from vectorstore.catalog import registry
from vectorstore.catalog.alias import alias_target, collection_names, first_collection
from vectorstore.catalog.cluster import missing_replicas
from vectorstore.catalog.ownership import ownership_problem
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name, is_embedded
from vectorstore.schema.definition import DEFINITION as DEFINITION


@dataclass(frozen=True, slots=True)
class Live:
    """The state of Qdrant and the registry.

    ``names`` are all collections, ``alias_of`` is the alias's target, and ``collection`` is the one to compare. ``ownership_problem`` is why it
    may not be this database's. ``rows`` are the alias's rows by name. ``missing_replicas`` are the replica counts of shards with too few.
    """

    names: frozenset[str]
    alias_of: str | None
    collection: str
    found: CollectionInfo | None = field(repr=False)
    ownership_problem: str | None
    rows: dict[str, VectorCollection]
    missing_replicas: dict[int, int]

    @property
    def name_taken(self) -> bool:
        """Return whether a real collection has the alias's name."""
        return collection_name() in self.names


def read_live(client: QdrantClient) -> Live:
    """Read the whole state."""
    names = collection_names(client)
    alias_of = alias_target(client)
    rows = {row.name: row for row in registry.rows()}
    name = alias_of or _without_alias(names, rows)
    found = read_in_full(client, name) if name in names else None
    problem = ownership_problem(client, name, found) if found else None
    return Live(names, alias_of, name, found, problem, rows, missing_replicas(client, name) if found else {})


def read_in_full(client: QdrantClient, collection: str) -> CollectionInfo:
    """Read the collection by REST, even if gRPC is used otherwise: gRPC leaves out some of the settings."""
    if is_embedded():
        return client.get_collection(collection)
    found = client.http.collections_api.get_collection(collection).result
    assert found is not None
    return found


def _without_alias(names: frozenset[str], rows: dict[str, VectorCollection]) -> str:
    """Return the collection that the lost alias pointed to, or was about to. Otherwise the newest retained one, or the first name."""
    states = (VectorCollection.State.READY, VectorCollection.State.LIVE, VectorCollection.State.RETAINED)
    newest_first = sorted((names & rows.keys()) - {registry.copy_name()}, key=registry.number_of, reverse=True)
    known = [name for state in states for name in newest_first if rows[name].state == state]
    return known[0] if known else first_collection()
