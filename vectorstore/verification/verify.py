"""Compare all write targets in Qdrant with PostgreSQL: ``verify_qdrant``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.triggers.problems import trigger_problems
from findme.migrator.trigger_repair import repair_triggers
from vectorstore.catalog import registry
from vectorstore.catalog.alias import check_alias, live_collection
from vectorstore.consistency import preflight
from vectorstore.consistency.checkpoint import compare_checkpoints
from vectorstore.consistency.comparison_due import clear_comparison_due, comparison_due_at, note_comparison_due
from vectorstore.consistency.possibly_erased import PossiblyErased, require_after_restore
from vectorstore.models import QuarantinedUser, StoreState, VectorCollection, Verification
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RestoreDetected
from vectorstore.qdrant.pages import Points
from vectorstore.qdrant.scroll import begun
from vectorstore.retention.unique_vectors import UniqueVectorsFound
from vectorstore.verification.compare import Kind
from vectorstore.verification.drift import DriftReport
from vectorstore.verification.merge_join import verify_collection
from vectorstore.verification.repair import count_unique, foreign_vectors_problem, repair, too_many

MAX_STORED_RUNS = 100
"""Runs whose result PostgreSQL keeps."""


@dataclass(frozen=True, slots=True)
class VerifiedCollection:
    """The result of one collection. For the counts see ``DriftReport``.

    ``kinds`` are counts by kind, with ``examples`` of ids. A point can have two kinds and counts once in ``differing``.
    """

    name: str
    state: str
    points: int
    differing: int
    kinds: dict[str, int]
    examples: dict[str, list[str]]
    pending: int
    quarantined: int
    unallocated: int
    unique_vectors: int = 0

    @property
    def foreign_vectors(self) -> int:
        return self.kinds[Kind.FOREIGN_VECTOR]


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of a verification.

    ``users`` must have a point. ``quarantined`` counts users whose data Qdrant rejected. ``restore_detected`` is the reason if a store is
    an older copy. ``queued`` and ``deleted`` are the changes of a repair, and ``checkpoint_written`` tells whether it gave both stores a new
    checkpoint. All three are None without a repair. ``triggers`` names those that do not capture changes as they should, and ``repaired_triggers`` those
    that the repair has recreated. ``comparison_due_at`` is the time when an earlier run repaired triggers, if the stores were not compared
    between that run and this one. ``possibly_erased`` are ids of users without a point, because of which a repair after a restore was refused.
    """

    alias: str
    users: int
    quarantined: int
    restore_detected: str | None
    collections: tuple[VerifiedCollection, ...]
    queued: int | None = None
    deleted: int | None = None
    checkpoint_written: bool | None = None
    triggers: tuple[str, ...] = ()
    repaired_triggers: tuple[str, ...] = ()
    comparison_due_at: datetime | None = None
    possibly_erased: tuple[str, ...] = ()

    @property
    def differing(self) -> int:
        return sum(found.differing for found in self.collections)

    @property
    def unique_vectors(self) -> int:
        return sum(found.unique_vectors for found in self.collections)

    @property
    def foreign_vectors(self) -> int:
        return sum(found.foreign_vectors for found in self.collections)

    @property
    def clean(self) -> bool:
        found = (
            self.differing or self.quarantined or self.restore_detected or self.triggers or self.repaired_triggers or self.comparison_due_at
        )
        return not (found or any(collection.unallocated for collection in self.collections))


class RepairRefused(UserFacingError):
    """A repair was refused and nothing was changed. ``verified`` is the result of the comparison."""

    def __init__(self, refusal: str, verified: Verified) -> None:
        self.verified = verified
        super().__init__(refusal)


class ChangeLimitExceeded(RepairRefused):
    """More points differ than a repair may change."""


def verify(
    *,
    repairing: bool = False,
    max_changes: int | None = None,
    force: bool = False,
    discard_vectors: int = 0,
    after_restore: bool = False,
    report: Report = ignore_progress,
    on_trigger_repaired: Callable[[str], object] = str,
) -> Verified:
    """Compare every user with the user's point in all write targets. With ``repairing``, repair the differences.

    A repair recreates faulty triggers first, and calls ``on_trigger_repaired`` for each. The comparison that follows finds the changes that they missed,
    and later changes are captured. If the comparison fails, the triggers stay repaired and the comparison stays recorded as due.

    Runs in constant memory, next to concurrent writers. Raises StoreUnavailable, and UserFacingError if the alias points to a collection
    that is not registered or, with ``repairing``, if the live collection belongs to another database. With nothing changed, raises

    - ChangeLimitExceeded if more points differ than ``max_changes`` and ``force`` is not set;
    - RepairRefused if more points than ``discard_vectors`` hold a unique vector;
    - RepairRefused if a store was restored and users have no point, unless ``after_restore`` confirms that the operator has checked them.
    """
    due_at = comparison_due_at()
    repaired_triggers = tuple(map(str, repair_triggers("verify_qdrant --repair", before_commit=note_comparison_due))) if repairing else ()
    for problem in repaired_triggers:
        on_trigger_repaired(problem)
    noted, triggers = comparison_due_at(), tuple(map(str, trigger_problems()))
    started = datetime.now(UTC)
    with ExitStack() as stack:
        with qdrant() as client:
            live_collection(client)
            check_alias(client)
            if repairing:
                preflight.check_owners(client)
            rows = _rows(client)
            restore_detected = _restore_detected(client)
            totals = _totals(client, rows)
            live_pages = begun(rows[0].name)
        copy = registry.copy_name()
        collections = [stack.enter_context(DriftReport(row.name, orphans_only=row.name == copy)) for row in rows]
        users, compared = _compare(rows, collections, totals, live_pages, report)
        collections = [found for _, found in compared]
        _record(started, users, collections, restore_detected)
        results = tuple(_collection_result(row, found) for row, found in compared)
        verified = Verified(
            collection_name(),
            users,
            QuarantinedUser.objects.count(),
            restore_detected,
            results,
            triggers=triggers,
            repaired_triggers=repaired_triggers,
            comparison_due_at=due_at,
        )
        if not repairing:
            return verified
        if restore_detected and not after_restore:
            _require_after_restore(verified)
        repaired = _repaired(verified, collections, max_changes, discard_vectors, force=force)
        if noted is not None:
            clear_comparison_due(noted)
        return repaired


def _require_after_restore(verified: Verified) -> None:
    try:
        require_after_restore(verified.collections[0].name, "manage.py verify_qdrant --repair")
    except PossiblyErased as error:
        raise RepairRefused(str(error), replace(verified, possibly_erased=tuple(map(str, error.ids)))) from error


def _repaired(
    verified: Verified, collections: list[DriftReport], max_changes: int | None, discard_vectors: int, *, force: bool
) -> Verified:
    if (foreign := foreign_vectors_problem(collections, discard_vectors)) is not None:
        raise RepairRefused(foreign, verified)
    if (unique := count_unique(collections)) > discard_vectors:
        raise RepairRefused(str(UniqueVectorsFound(unique, discard_vectors)), verified)
    if not force and (refusal := too_many(collections, max_changes)) is not None:
        raise ChangeLimitExceeded(refusal, verified)
    targets = registry.deletion_targets()
    with qdrant() as client:
        return replace(verified, **asdict(repair(client, [found for found in collections if found.name in targets])))


def _rows(client: QdrantClient) -> list[VectorCollection]:
    """Return the write targets and the copies, the live one first.

    A secondary collection that Qdrant has lost is left out. The next worker marks it as failed.
    """
    live = registry.live()
    if live is None:
        raise CollectionNotFound(collection_name())
    targets = registry.deletion_targets()
    rows = VectorCollection.objects.in_bulk(targets)
    return [rows[name] for name in targets if name in rows and (name == live or client.collection_exists(name))]


def _restore_detected(client: QdrantClient) -> str | None:
    try:
        compare_checkpoints(client)
    except RestoreDetected as error:
        return error.what
    return None


def _compare(
    rows: list[VectorCollection], collections: list[DriftReport], totals: list[int], live_pages: Iterator[Points], report: Report
) -> tuple[int, list[tuple[VectorCollection, DriftReport]]]:
    """Return how many users must have a point, and the compared collections. Collections that were dropped meanwhile are left out."""
    refreshed = StoreState.current().ages_refreshed_on
    done = users = 0
    compared = []
    for index, (row, found, total) in enumerate(zip(rows, collections, totals, strict=True)):

        def report_total(seen: int, _total: int | None = None, /, done: int = done, total: int = total) -> None:
            report(done + min(seen, total), sum(totals))

        building = row.state == VectorCollection.State.BUILDING
        try:
            points = live_pages if row is rows[0] else None
            users = verify_collection(found, building=building, ages_valid_on=refreshed, report=report_total, points=points)
        except CollectionNotFound:
            _check_secondary(row)
        else:
            compared.append((row, found))
        # Replace the estimate by the exact number.
        totals[index] = max(users, found.points)
        done += totals[index]
        report(done, sum(totals))
    return users, compared


def _check_secondary(row: VectorCollection) -> None:
    """Raise StoreUnavailable if the missing collection is the live one, or was live when the comparison began."""
    if row.name == registry.live():
        raise CollectionNotFound(row.name)
    if row.state == VectorCollection.State.LIVE:
        raise StoreUnavailable(f"{row.name!r} was replaced and dropped during the comparison. Run the command again.")


def _totals(client: QdrantClient, rows: list[VectorCollection]) -> list[int]:
    """Estimate the size of each comparison: the number of points, or of users if they are more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'profile_embeddings'::regclass")
        (users,) = cursor.fetchone()
    return [max(_points_in(client, row.name), users) for row in rows]


def _points_in(client: QdrantClient, collection: str) -> int:
    with suppress(CollectionNotFound), qdrant():
        return client.count(collection, exact=False).count
    return 0


def _record(started: datetime, users: int, collections: list[DriftReport], restore_detected: str | None) -> None:
    """Store the counts, without any id, and keep the newest ``MAX_STORED_RUNS`` runs."""
    found: dict[str, Any] = {
        "users": users,
        "quarantined": QuarantinedUser.objects.count(),
        "restore_detected": restore_detected is not None,
        "collections": {found.name: found.counts() for found in collections},
    }
    Verification.objects.create(alias=collection_name(), started_at=started, result=found)
    runs = Verification.objects.filter(alias=collection_name())
    runs.exclude(pk__in=list(runs.order_by("-finished_at", "-pk").values_list("pk", flat=True)[:MAX_STORED_RUNS])).delete()


def _collection_result(row: VectorCollection, found: DriftReport) -> VerifiedCollection:
    kinds = {str(kind): found.kinds[kind] for kind in found.examples}
    examples = {str(kind): ids for kind, ids in found.examples.items() if ids}
    return VerifiedCollection(
        found.name,
        row.state,
        found.points,
        found.differing,
        kinds,
        examples,
        found.pending,
        found.quarantined,
        found.unallocated,
        found.unique_vectors,
    )
