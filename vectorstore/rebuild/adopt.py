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
from vectorstore.catalog.alias import point_alias
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.catalog.ownership import ADOPTED_AT, ADOPTING, DATABASE, database_id
from vectorstore.consistency import checkpoint
from vectorstore.consistency.deletions import DELETED, note_deletion_time
from vectorstore.consistency.possibly_erased import require_after_restore
from vectorstore.consistency.versions import last_allocated, raise_above, version_of
from vectorstore.models import ProfileEmbedding, QueueEntry
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.scroll import record_pages
from vectorstore.queue.entries import enqueue
from vectorstore.rebuild.replace import Replaced, replace_by_alias
from vectorstore.retention.unique_vectors import FIELDS, DiscardLimit, UniqueVectors
from vectorstore.schema.apply import register_as_live
from vectorstore.schema.definition import Change
from vectorstore.schema.initialize import GREEN_SECONDS, OnPlan, carry_out, wait_until_green
from vectorstore.schema.plan import Plan, describe_remaining, plan, refuse
from vectorstore.sync.inline import sync_users
from vectorstore.verification.repair import change_limit

PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Survey:
    """The counts of the points before an adoption.

    ``orphans`` have no user in PostgreSQL. ``highest`` is the highest version that a worker can have written. ``unique_vectors`` are
    points with the only copy of the vector of a user in PostgreSQL. They are no orphans.
    """

    points: int = 0
    orphans: int = 0
    highest: int = 0
    unique_vectors: int = 0


@dataclass(frozen=True, slots=True)
class Adopted:
    """The plan and the result of an adoption.

    ``removed`` points had no user. ``replaced`` is set if a real collection had the alias's name. ``remaining`` describes a difference that
    needs a new collection. ``status`` is None if nothing was changed. ``arrived_later`` points hold a unique vector that was written after
    the survey. They stay.
    """

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
    """Make the collection belong to this database, then apply the definition. One process at a time.

    After a kill the next run resumes. A difference that needs a new collection is left to ``reindex_qdrant``, which builds none next to
    another database's collection. With nothing changed, raises UserFacingError if

    - more points than ``max_changes`` (the greater of 100 and 5 %) would be removed, without ``force``;
    - a FindMe database wrote the collection, users in PostgreSQL have no point in it, and ``after_restore`` does not confirm that the operator
      has checked them;
    - more points than ``discard_vectors`` hold a unique vector (``force`` does not allow these);
    - a collection must be created and a node of the cluster does not answer;
    - a difference needs a new collection, and nothing is to be adopted.
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
            _check_change_limit(survey, max_changes, force)
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
    """Count the points. No version in the collection counts as allocated: it is another database's, or was adopted only in part."""
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


def _check_change_limit(survey: Survey, max_changes: int | None, force: bool) -> None:
    allowed = change_limit(survey.points, max_changes)
    if survey.orphans > allowed and not force:
        raise UserFacingError(
            f"{survey.orphans:,} of {counted(survey.points, 'point')} {plural(survey.orphans, 'has', 'have')} no user in PostgreSQL and the limit is {allowed:,}: nothing"
            " was changed. Check that DATABASE_URL and QDRANT_URL belong together, then rerun with"
            f" --max-changes {survey.orphans} or --force."
        )


def _adopt_collection(planned: Plan, limit: DiscardLimit, report: Report) -> tuple[int, int]:
    """Adopt the collection. Return how many points were removed, and how many hold a unique vector and stay.

    1. Mark the collection as being adopted, so that no other database's worker writes it.
    2. Raise the sequence above all versions in it, and enqueue all users.
    3. Remove the mark, so that workers write the collection.

    After a kill before step 3, the mark shows an unfinished adoption and no worker writes. After a kill later, the rest is on the queue.
    """
    collection = planned.collection
    with qdrant() as client:
        client.update_collection(collection, metadata={DATABASE: database_id(), ADOPTING: True, checkpoint.KEY: None, DELETED: None})
        raise_above(_remove_unbeatable_versions(client, collection, report))
        register_as_live(client, collection, new=False, is_adoption=True)
        client.update_collection(collection, metadata={ADOPTING: None, ADOPTED_AT: last_allocated()})
        if planned.differs("alias "):
            point_alias(client, collection)
        checkpoint.reset_checkpoint(client)
    return _remove_orphans(collection, limit, report)


def _remove_unbeatable_versions(client: QdrantClient, collection: str, report: Report) -> int:
    """Return the highest version, after removing versions that no worker can have written: no later write could exceed them."""
    highest = seen = 0
    for page in _pages(collection):
        seen += len(page)
        report(seen)
        highest = max([highest, *(version_of(record.payload) or 0 for record in page)])
        odd = [record.id for record in page if version_of(record.payload) is None and "version" in (record.payload or {})]
        if odd:
            client.delete_payload(collection, keys=["version"], points=odd, wait=True)
    return highest


def _remove_orphans(collection: str, limit: DiscardLimit, report: Report) -> tuple[int, int]:
    """Delete orphans: users' points through the queue, like every deletion, and points with a numeric id directly.

    Unique vectors are deleted up to the ``limit``. Return the numbers of deleted points and of unique vectors that stay.
    """
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
                note_deletion_time()
                client.delete(collection, PointIdsList(points=numbers), wait=True)
        removed += sync_users(one for one in orphans if isinstance(one, UUID)).removed + len(numbers)
        seen += len(page)
        report(seen)
    return removed, arrived_later


def _pages(collection: str) -> Iterator[list[Record]]:
    """Read every point with its version."""
    return record_pages(collection, PAGE_SIZE, with_payload=FIELDS, with_vectors=False)


def _orphans(page: list[Record], *, spared: Collection[ExtendedPointId]) -> list[UUID | int]:
    """Return the ids of points without a user who may have one, except the ``spared`` ones."""
    ids = [record.id for record in page if record.id not in spared]
    users = {UUID(one) for one in ids if isinstance(one, str)}
    known = set(ProfileEmbedding.objects.projectable().filter(pk__in=users).values_list("pk", flat=True))
    return [*sorted(users - known), *(one for one in ids if isinstance(one, int))]
