"""Adoption: make a collection belong to this database that another one wrote, or that names no database (protocol, rule 8)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, PointIdsList, Record

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from findme.core.plurals import counted, plural
from privacy.audit import record_adoption
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.catalog.ownership import ADOPTED_AT, ADOPTING, DATABASE, database_id
from vectorstore.consistency import checkpoint
from vectorstore.consistency.deletions import DELETED
from vectorstore.consistency.possibly_erased import require_after_restore
from vectorstore.consistency.versions import last_allocated, raise_above, version_of
from vectorstore.models import ProfileEmbedding, QueueEntry
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.scroll import record_pages
from vectorstore.queue.deletions import note_removal
from vectorstore.queue.entries import enqueue
from vectorstore.rebuild.replace import Replaced, replace_by_alias
from vectorstore.retention.unique_vectors import FIELDS, DiscardLimit, UniqueVectors
from vectorstore.schema.apply import note_as_live, point_alias
from vectorstore.schema.definition import Change
from vectorstore.schema.initialize import GREEN_SECONDS, OnPlan, carry_out, wait_until_green
from vectorstore.schema.plan import Plan, describe_remaining, plan, refuse
from vectorstore.sync.inline import sync_users
from vectorstore.verification.repair import change_limit

PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Survey:
    """Of the points: how many there are, how many of nobody whom PostgreSQL knows, and the highest version that a worker can have written.
    ``unique_vectors`` hold the only copy of a vector of a user whom PostgreSQL has; they are no orphans."""

    points: int = 0
    orphans: int = 0
    highest: int = 0
    unique_vectors: int = 0


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was planned and what was found; ``removed`` points of nobody are gone. ``replaced`` where a real collection bore the alias's
    name. ``remaining`` says what is not as defined and takes a new collection. ``status`` is None where nothing was changed.
    ``arrived_later`` points hold a unique vector that was not there when they were counted: they stay."""

    planned: Plan
    survey: Survey
    removed: int = 0
    replaced: Replaced | None = None
    remaining: str | None = None
    status: str | None = None
    arrived_later: int = 0


def adopt(
    *,
    max_changes: int | None = None,
    force: bool = False,
    discard_vectors: int = 0,
    after_restore: bool = False,
    dry_run: bool = False,
    green_seconds: float = GREEN_SECONDS,
    on_plan: OnPlan = ignore_progress,
    report: Report = ignore_progress,
) -> Adopted:
    """Make the collection ours, and then as it is defined; one at a time. Killed anywhere, the next run goes on. What takes a new
    collection is left to ``reindex_qdrant``, which builds none beside another database's.

    Raises UserFacingError, with nothing touched, where more than MAX_CHANGES points (the greater of 100 and 5 % of them) would go and FORCE
    is not given; where a FindMe database wrote the collection, it lacks users whom PostgreSQL has, and AFTER_RESTORE does not say that the
    operator has looked at them; where more than DISCARD_VECTORS hold a unique vector, which nothing else allows; where a collection is to
    be made on a cluster without one of its nodes; and for what takes a new collection where nothing is to be adopted.
    """
    with collection_lock():
        with qdrant() as client:
            planned = plan(client)
            refuse(planned, Change.ADOPTION, *([Change.NEW_COLLECTION] if planned.is_to_be_adopted else []))
            if not dry_run and (planned.differs("collection ") or planned.live.name_taken):
                require_all_nodes(client)
            limit = DiscardLimit(discard_vectors)
            survey = _survey(planned, limit, report) if planned.is_to_be_adopted else Survey()
            if not dry_run:
                limit.require()
                if planned.is_to_be_adopted and not after_restore and _has_checkpoint(planned):
                    require_after_restore(planned.collection, "manage.py init_qdrant --adopt")
            _refuse_many(survey, max_changes, force)
        done = Adopted(planned, survey, remaining=describe_remaining(planned))
        if dry_run:
            return done
        on_plan(planned)
        if planned.live.name_taken:
            with record_adoption(planned.alias):
                replaced = replace_by_alias(timeout=green_seconds, limit=limit, report=report)
            done = replace(done, replaced=replaced, removed=survey.orphans + survey.unique_vectors)
        elif planned.is_to_be_adopted:
            with record_adoption(planned.collection):
                removed, arrived_later = _adopt_collection(planned, limit, report)
            done = replace(done, removed=removed, arrived_later=arrived_later)
        with qdrant() as client:
            if done.remaining is not None:
                return replace(done, status=wait_until_green(client, planned.collection, green_seconds, report))
            return replace(done, status=carry_out(client, plan(client), green_seconds, report))


def _has_checkpoint(planned: Plan) -> bool:
    """Return whether a FindMe database wrote the collection: this PostgreSQL is then a copy of that one, restored under another id."""
    found = planned.live.found
    return found is not None and checkpoint.KEY in (found.config.metadata or {})


def _survey(planned: Plan, limit: DiscardLimit, report: Report) -> Survey:
    """No version in it counts as allocated: it is not this database's, or was adopted only in part."""
    collection = planned.alias if planned.live.name_taken else planned.collection
    judge, found = UniqueVectors(None), Survey()
    for page in _pages(collection):
        highest = max((version_of(record.payload) or 0 for record in page), default=0)
        unique = judge.among(page)
        found = Survey(
            found.points + len(page),
            found.orphans + len(_orphans(page, spared=unique)),
            max(found.highest, highest),
            found.unique_vectors + len(unique),
        )
        report(found.points)
    limit.counts[collection] = found.unique_vectors
    return found


def _refuse_many(survey: Survey, max_changes: int | None, force: bool) -> None:
    allowed = change_limit(survey.points, max_changes)
    if survey.orphans > allowed and not force:
        raise UserFacingError(
            f"{survey.orphans:,} of {counted(survey.points, 'point')} {plural(survey.orphans, 'is', 'are')} of nobody whom PostgreSQL knows, and at most {allowed:,} may be removed: nothing"
            " was changed. See that DATABASE_URL and QDRANT_URL belong together, and run it again with --force, or with --max-changes"
            f" {survey.orphans}."
        )


def _adopt_collection(planned: Plan, limit: DiscardLimit, report: Report) -> tuple[int, int]:
    """How many points were removed; and how many hold a unique vector and stay.

    First it is claimed, so that nobody else writes it any more; then versions are allocated above all that are in it, and everybody is queued; only then
    is it written. Killed before, the claim says that it is not finished, and nobody writes it; killed after, the queue has what is left.
    """
    collection = planned.collection
    with qdrant() as client:
        client.update_collection(collection, metadata={DATABASE: database_id(), ADOPTING: True, checkpoint.KEY: None, DELETED: None})
        raise_above(_cleaned(client, collection, report))
        note_as_live(client, collection, new=False, of_others=True)
        client.update_collection(collection, metadata={ADOPTING: None, ADOPTED_AT: last_allocated()})
        if planned.differs("alias "):
            point_alias(client, planned.alias, collection)
        checkpoint.reset_checkpoint(client)
    return _without_orphans(collection, limit, report)


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


def _without_orphans(collection: str, limit: DiscardLimit, report: Report) -> tuple[int, int]:
    """People by way of the queue, as everybody is deleted; a number is nobody's id. Unique vectors go as far as the limit allows."""
    removed = seen = arrived_later = 0
    allowed = limit.limit
    with qdrant() as client:
        judge = UniqueVectors.of(client, collection)
    for page in _pages(collection):
        unique = judge.among(page)
        discarded, spared = unique[:allowed], unique[allowed:]
        allowed -= len(discarded)
        arrived_later += len(spared)
        enqueue((UUID(one) for one in discarded if isinstance(one, str)), urgent=True, cause=QueueEntry.Cause.DELETION)
        orphans = _orphans(page, spared=spared)
        numbers: list[ExtendedPointId] = [one for one in orphans if not isinstance(one, UUID)]
        if numbers:
            with qdrant() as client:
                note_removal()
                client.delete(collection, PointIdsList(points=numbers), wait=True)
        removed += sync_users(one for one in orphans if isinstance(one, UUID)).removed + len(numbers)
        seen += len(page)
        report(seen)
    return removed, arrived_later


def _pages(collection: str) -> Iterator[list[Record]]:
    """Every point, with its version."""
    return record_pages(collection, PAGE_SIZE, with_payload=FIELDS, with_vectors=False)


def _orphans(page: list[Record], *, spared: Collection[ExtendedPointId]) -> list[UUID | int]:
    """The ids of points that nobody is to have, without the ``spared`` ones."""
    ids = [record.id for record in page if record.id not in spared]
    users = {UUID(one) for one in ids if isinstance(one, str)}
    known = set(ProfileEmbedding.objects.projectable().filter(pk__in=users).values_list("pk", flat=True))
    return [*sorted(users - known), *(one for one in ids if isinstance(one, int))]
