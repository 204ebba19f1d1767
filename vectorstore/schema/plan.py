"""What has to change for the live collection to be as defined: read in full and compared. Changes nothing."""

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
REBUILD = "Build one as it is defined beside it, and put it in its place, with manage.py reindex_qdrant."


@dataclass(frozen=True, slots=True)
class Plan:
    """``collection`` is the real one, behind ``alias`` or meant for it; ``live`` is what the comparisons were made of. ``restored`` is the error's text
    if one of the stores is an older copy of itself, and None if not, or if nobody has looked."""

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
        """What ``init_qdrant`` does not change by itself."""
        return [one for one in self.differences if one.change not in APPLIED]

    @property
    def is_to_be_adopted(self) -> bool:
        return any(one.change is Change.ADOPTION for one in self.differences)

    def differs(self, prefix: str) -> bool:
        return any(one.what.startswith(prefix) for one in self.differences)

    @property
    def queues_all_users(self) -> bool:
        """Whether nobody writes the collection yet."""
        row = self.live.rows.get(self.collection)
        return self.differs("collection ") or row is None or row.state == VectorCollection.State.FAILED

    @property
    def rebuilt(self) -> list[Comparison]:
        """What takes a new collection, where nothing else is refused but whose it is."""
        refused = [one for one in self.refused if one.change is not Change.ADOPTION]
        return refused if all(one.change is Change.NEW_COLLECTION for one in refused) else []


def plan(client: QdrantClient) -> Plan:
    """Compare everything that is defined. Raises StoreUnavailable."""
    live = read_live(client)
    return Plan(collection_name(), live.collection, is_embedded(), tuple(comparisons(live)), live)


def refuse(planned: Plan, *but: Change) -> None:
    """Raises UserFacingError, with what to do, for the first difference that is not changed by itself, and is none of BUT."""
    found = [one for one in planned.refused if one.change not in but]
    if found:
        raise UserFacingError(describe_refusal(planned, found))


def describe_refusal(planned: Plan, found: list[Comparison]) -> str:
    """The line for what is refused. First comes whose it is: nothing is built beside another database's."""
    first = min(found, key=lambda one: one.change is not Change.ADOPTION)
    if first.change is Change.BY_HAND:
        return not_ours(str(first.live))
    if first.what.startswith("name "):
        return f"{name_taken()}: nothing was changed. {way_out(planned.alias)}"
    if first.change is Change.ADOPTION:
        return f"{planned.live.ownership_problem}: nothing was changed. {adoption()}"
    return f"{_first_of(planned, found)}: nothing was changed. {REBUILD}"


def describe_remaining(planned: Plan) -> str | None:
    """The line for what stays as it is in an adopted collection, though it is not defined so."""
    return f"{_first_of(planned, planned.rebuilt)}, which stays so. {REBUILD}" if planned.rebuilt else None


def _first_of(planned: Plan, found: list[Comparison]) -> str:
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"In {planned.collection!r}, {found[0]}{more}"
