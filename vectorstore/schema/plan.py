"""Plan the changes that make the live collection match the definition. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from qdrant_client import QdrantClient

from findme.core.errors import UserFacingError
from vectorstore.catalog.alias import name_taken, not_ours, way_out
from vectorstore.catalog.ownership import way_out as adoption
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name, is_embedded
from vectorstore.schema.definition import Change
from vectorstore.schema.diff import Comparison, State, comparisons
from vectorstore.schema.live import Live, read_live

APPLIED = {Change.IN_PLACE, Change.GRAPH_REBUILD}
REBUILD = "Build a new collection with manage.py reindex_qdrant."


@dataclass(frozen=True, slots=True)
class Plan:
    """The comparisons of the real ``collection``, which is behind ``alias`` or will be, with the ``live`` state.

    ``restored`` is the error's text if one of the stores is an older copy. None also if this was not checked.
    """

    alias: str
    collection: str
    embedded: bool
    comparisons: tuple[Comparison, ...]
    live: Live = field(repr=False)
    restored: str | None = None

    @property
    def differences(self) -> list[Comparison]:
        return [one for one in self.comparisons if one.state in {State.MISSING, State.DIFFERENT}]

    @property
    def refused(self) -> list[Comparison]:
        """Return the differences that ``init_qdrant`` does not remove by itself."""
        return [one for one in self.differences if one.change not in APPLIED]

    @property
    def is_to_be_adopted(self) -> bool:
        return any(one.change is Change.ADOPTION for one in self.differences)

    def differs(self, prefix: str) -> bool:
        return any(one.what.startswith(prefix) for one in self.differences)

    @property
    def queues_all_users(self) -> bool:
        """Return whether no worker writes the collection yet."""
        row = self.live.rows.get(self.collection)
        return self.differs("collection ") or row is None or row.state == VectorCollection.State.FAILED

    @property
    def rebuilt(self) -> list[Comparison]:
        """Return the differences that need a new collection, if nothing else is refused except the ownership."""
        refused = [one for one in self.refused if one.change is not Change.ADOPTION]
        return refused if all(one.change is Change.NEW_COLLECTION for one in refused) else []


def plan(client: QdrantClient) -> Plan:
    """Compare the live collection with the whole definition. Raises StoreUnavailable."""
    live = read_live(client)
    return Plan(collection_name(), live.collection, is_embedded(), tuple(comparisons(live)), live)


def refuse(planned: Plan, *allowed: Change) -> None:
    """Raise UserFacingError with the next step for the first refused difference whose change is not ``allowed``."""
    found = [one for one in planned.refused if one.change not in allowed]
    if found:
        raise UserFacingError(describe_refusal(planned, found))


def describe_refusal(planned: Plan, found: list[Comparison]) -> str:
    """Return the error message for the refused differences. Ownership comes first: nothing is built next to another database's collection."""
    first = min(found, key=lambda one: one.change is not Change.ADOPTION)
    if first.change is Change.BY_HAND:
        return not_ours(str(first.live))
    if first.what.startswith("name "):
        return f"{name_taken()}: nothing was changed. {way_out(planned.alias)}"
    if first.change is Change.ADOPTION:
        return f"{planned.live.ownership_problem}: nothing was changed. {adoption()}"
    return f"{_first_of(planned, found)}: nothing was changed. {REBUILD}"


def describe_remaining(planned: Plan) -> str | None:
    """Return the message for differences that remain in an adopted collection, or None."""
    return f"{_first_of(planned, planned.rebuilt)} and was not changed. {REBUILD}" if planned.rebuilt else None


def _first_of(planned: Plan, found: list[Comparison]) -> str:
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"In {planned.collection!r}, {found[0]}{more}"
