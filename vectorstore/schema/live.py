"""The collection as Qdrant has it, with the alias and the rows that lead to it."""

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
    """What Qdrant has: the names of all collections, where the alias leads to, and the collection to compare; what speaks against its being ours;
    the rows of the alias in PostgreSQL, by name; and how many replicas there are of the shards that have too few."""

    names: frozenset[str]
    alias_of: str | None
    collection: str
    found: CollectionInfo | None = field(repr=False)
    ownership_problem: str | None
    rows: dict[str, VectorCollection]
    missing_replicas: dict[int, int]

    @property
    def name_taken(self) -> bool:
        """Whether a real collection bears the alias's name."""
        return collection_name() in self.names


def read_live(client: QdrantClient) -> Live:
    """Everything that is there, read in full."""
    names = collection_names(client)
    alias_of = alias_target(client)
    rows = {row.name: row for row in registry.rows()}
    name = alias_of or _without_alias(names, rows)
    found = read_in_full(client, name) if name in names else None
    problem = ownership_problem(client, name, found) if found else None
    return Live(names, alias_of, name, found, problem, rows, missing_replicas(client, name) if found else {})


def read_in_full(client: QdrantClient, collection: str) -> CollectionInfo:
    """By REST, whatever the rest goes by: gRPC leaves some of the settings out."""
    if is_embedded():
        return client.get_collection(collection)
    found = client.http.collections_api.get_collection(collection).result
    assert found is not None
    return found


def _without_alias(names: frozenset[str], rows: dict[str, VectorCollection]) -> str:
    """The collection that the alias led to, or was just going to, when it was lost; or the newest that is retained, where that one is gone as well; or
    else the first one."""
    states = (VectorCollection.State.READY, VectorCollection.State.LIVE, VectorCollection.State.RETAINED)
    newest_first = sorted(names & rows.keys(), key=registry.number_of, reverse=True)
    known = [name for state in states for name in newest_first if rows[name].state == state]
    return known[0] if known else first_collection()
