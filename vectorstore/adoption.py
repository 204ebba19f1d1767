"""Taking a collection over that another database filled, or that does not say whose it is (protocol, rule 8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, PointIdsList, Record

from findme.console.errors import NotDone
from findme.console.progress import Report, unreported
from vectorstore import marks
from vectorstore.allowed import allowed_changes
from vectorstore.applying import note_as_live, point_alias
from vectorstore.collection_lock import collection_lock
from vectorstore.connection import qdrant
from vectorstore.declaration import Change
from vectorstore.initialisation import GREEN_SECONDS, Announce, carry_out, settled
from vectorstore.ownership import ADOPTING, DATABASE, database_id
from vectorstore.plan import Plan, plan, refuse, what_is_left
from vectorstore.projection import entitled
from vectorstore.purge.removals import note_removal
from vectorstore.rebuild.nodes import refuse_without_a_node
from vectorstore.replacement import Replaced, replace_by_alias
from vectorstore.scrolled import pages
from vectorstore.sync.now import project
from vectorstore.versions import raise_above, version_of

PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Survey:
    """Of the points: how many there are, how many of nobody whom PostgreSQL knows, and the highest version that a worker can have written."""

    points: int = 0
    strangers: int = 0
    highest: int = 0


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was planned and what was found; ``removed`` points of nobody are gone. ``replaced`` where a real collection bore the alias's name. ``left``
    says what is not as declared and takes a new collection. ``status`` is None where nothing was changed."""

    planned: Plan
    survey: Survey
    removed: int = 0
    replaced: Replaced | None = None
    left: str | None = None
    status: str | None = None


def adopt(
    announce: Announce,
    *,
    max_changes: int | None = None,
    force: bool = False,
    dry_run: bool = False,
    green_seconds: float = GREEN_SECONDS,
    report: Report = unreported,
) -> Adopted:
    """Make the collection ours, and then as it is declared; one at a time. Killed anywhere, the next run goes on. What takes a new collection is left
    to ``reindex_qdrant``, which builds none beside another database's.

    Raises NotDone, with nothing touched, where more than MAX_CHANGES points (the greater of 100 and 5 % of them) would go and FORCE is not
    given; where a collection is to be made on a cluster without one of its nodes; and for what takes a new collection where nothing is to be
    adopted.
    """
    with collection_lock():
        with qdrant() as client:
            planned = plan(client)
            refuse(planned, Change.ADOPTION, *([Change.NEW_COLLECTION] if planned.is_to_be_adopted else []))
            if not dry_run and (planned.differs("collection ") or planned.live.name_taken):
                refuse_without_a_node(client)
            survey = _survey(planned, report) if planned.is_to_be_adopted else Survey()
            _refuse_many(survey, max_changes, force)
        done = Adopted(planned, survey, left=what_is_left(planned))
        if dry_run:
            return done
        announce(planned)
        if planned.live.name_taken:
            done = replace(done, replaced=replace_by_alias(timeout=green_seconds, report=report), removed=survey.strangers)
        elif planned.is_to_be_adopted:
            done = replace(done, removed=_take_over(planned, report))
        with qdrant() as client:
            if done.left is not None:
                return replace(done, status=settled(client, planned.collection, green_seconds, report))
            return replace(done, status=carry_out(client, plan(client), green_seconds, report))


def _survey(planned: Plan, report: Report) -> Survey:
    found = Survey()
    for page in _pages(planned.alias if planned.live.name_taken else planned.collection):
        highest = max((version_of(record.payload) or 0 for record in page), default=0)
        found = Survey(found.points + len(page), found.strangers + len(_strangers(page)), max(found.highest, highest))
        report(found.points)
    return found


def _refuse_many(survey: Survey, max_changes: int | None, force: bool) -> None:
    allowed = allowed_changes(survey.points, max_changes)
    if survey.strangers > allowed and not force:
        raise NotDone(
            f"{survey.strangers:,} of {survey.points:,} points are of nobody whom PostgreSQL knows, and at most {allowed:,} may be removed: nothing"
            " was changed. See that DATABASE_URL and QDRANT_URL belong together, and run it again with --force, or with --max-changes"
            f" {survey.strangers}."
        )


def _take_over(planned: Plan, report: Report) -> int:
    """How many points of nobody were removed.

    First it is claimed, so that nobody else writes it any more; then versions are drawn above all that are in it, and everybody is queued; only then
    is it written. Killed before, the claim says that it is not finished, and nobody writes it; killed after, the queue has what is left.
    """
    collection = planned.collection
    with qdrant() as client:
        client.update_collection(collection, metadata={DATABASE: database_id(), ADOPTING: True, marks.KEY: None})
        raise_above(_cleaned(client, collection, report))
        note_as_live(client, collection, new=False, of_others=True)
        client.update_collection(collection, metadata={ADOPTING: None})
        if planned.differs("alias "):
            point_alias(client, planned.alias, collection)
        marks.make_new_mark(client)
    return _without_strangers(collection, report)


def _cleaned(client: QdrantClient, collection: str, report: Report) -> int:
    """The highest version, after every point was rid of one that no worker can have written and that no version could ever be above."""
    highest = seen = 0
    for page in _pages(collection):
        seen += len(page)
        report(seen)
        highest = max([highest, *(version_of(record.payload) or 0 for record in page)])
        odd = [record.id for record in page if version_of(record.payload) is None and "version" in (record.payload or {})]
        if odd:
            client.delete_payload(collection, keys=["version"], points=odd, wait=True)
    return highest


def _without_strangers(collection: str, report: Report) -> int:
    """People by way of the queue, as everybody is deleted; a number is nobody's id."""
    removed = seen = 0
    for page in _pages(collection):
        strangers = _strangers(page)
        numbers: list[ExtendedPointId] = [one for one in strangers if not isinstance(one, UUID)]
        if numbers:
            with qdrant() as client:
                note_removal()
                client.delete(collection, PointIdsList(points=numbers), wait=True)
        removed += project(one for one in strangers if isinstance(one, UUID)).removed + len(numbers)
        seen += len(page)
        report(seen)
    return removed


def _pages(collection: str) -> Iterator[list[Record]]:
    """Every point, with its version."""
    return pages(collection, PAGE_SIZE, with_payload=["version"], with_vectors=False)


def _strangers(page: list[Record]) -> list[UUID | int]:
    """The ids of points that nobody is to have."""
    people = {UUID(record.id) for record in page if isinstance(record.id, str)}
    known = set(entitled().filter(pk__in=people).values_list("pk", flat=True))
    return [*sorted(people - known), *(record.id for record in page if isinstance(record.id, int))]
