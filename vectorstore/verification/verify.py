"""Everything that is written to Qdrant, compared with PostgreSQL: what ``verify_qdrant`` does."""

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
from findme.migrator.trigger_repair import mend_triggers
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
from vectorstore.verification.drift import DriftReport
from vectorstore.verification.merge_join import verify_collection
from vectorstore.verification.repair import count_unique, repair, too_many

REMEMBERED = 100
"""Runs of which PostgreSQL keeps what they found."""


@dataclass(frozen=True, slots=True)
class VerifiedCollection:
    """``kinds`` are counts by kind, with ``examples`` of ids; a point may be of two kinds, and is one of ``differing``. The others: ``DriftReport``."""

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


@dataclass(frozen=True, slots=True)
class Verified:
    """``people`` are to have a point; ``quarantined`` are people whom Qdrant refused. ``restore_detected`` says that a store is older than the other one
    remembers. ``queued`` and ``deleted`` are what a repair has done, and ``checkpoint_written`` says whether it could give both stores a new checkpoint; None where
    none was asked for. ``triggers`` are those that do not capture changes as they should, and ``mended`` those that the repair has mended.
    ``comparison_due_at`` is when an earlier run mended triggers, if the stores were not compared between that run and this one. ``possibly_erased`` are
    the ids of users without a point, for which a repair after a restore was refused."""

    alias: str
    users: int
    quarantined: int
    restore_detected: str | None
    collections: tuple[VerifiedCollection, ...]
    queued: int | None = None
    deleted: int | None = None
    checkpoint_written: bool | None = None
    triggers: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    comparison_due_at: datetime | None = None
    possibly_erased: tuple[str, ...] = ()

    @property
    def differing(self) -> int:
        return sum(found.differing for found in self.collections)

    @property
    def unique_vectors(self) -> int:
        return sum(found.unique_vectors for found in self.collections)

    @property
    def clean(self) -> bool:
        found = self.differing or self.quarantined or self.restore_detected or self.triggers or self.mended or self.comparison_due_at
        return not (found or any(collection.unallocated for collection in self.collections))


class RepairRefused(UserFacingError):
    """Nothing was changed; ``verified`` is what was found."""

    def __init__(self, refusal: str, verified: Verified) -> None:
        self.verified = verified
        super().__init__(refusal)


class ChangeLimitExceeded(RepairRefused):
    """More differs than may be changed."""


def verify(
    *,
    repairing: bool = False,
    max_changes: int | None = None,
    force: bool = False,
    discard_vectors: int = 0,
    after_restore: bool = False,
    report: Report = ignore_progress,
    on_mended: Callable[[str], object] = str,
) -> Verified:
    """Compare every person with their point in every collection that is written; REPAIRING, have put right what differs.

    A repair mends the triggers first, and calls ``on_mended`` for each: what they missed before is found by the comparison that follows, and what
    changes from then on is captured. A mended trigger stays so, whatever becomes of the comparison, which is then still noted as due.
    In constant memory, and beside writers. Raises StoreUnavailable; UserFacingError where the alias leads to a collection that nobody has
    noted; and, with nothing changed, ChangeLimitExceeded where more differ than MAX_CHANGES and nothing FORCEs it, RepairRefused where more
    points than DISCARD_VECTORS hold a unique vector, or where a store was restored, users have no point, and AFTER_RESTORE does not say
    that the operator has looked at them; and UserFacingError where the live collection that is to be repaired is another database's.
    """
    due_at = comparison_due_at()
    mended = tuple(map(str, mend_triggers("verify_qdrant --repair", with_the_mending=note_comparison_due))) if repairing else ()
    for problem in mended:
        on_mended(problem)
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
            of_live = begun(rows[0].name)
        collections = [stack.enter_context(DriftReport(row.name)) for row in rows]
        users, compared = _compare(rows, collections, totals, of_live, report)
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
            mended=mended,
            comparison_due_at=due_at,
        )
        if not repairing:
            return verified
        if restore_detected and not after_restore:
            _refuse_to_restore_users(verified)
        repaired = _repaired(verified, collections, max_changes, discard_vectors, force=force)
        if noted is not None:
            clear_comparison_due(noted)
        return repaired


def _refuse_to_restore_users(verified: Verified) -> None:
    try:
        require_after_restore(verified.collections[0].name, "manage.py verify_qdrant --repair")
    except PossiblyErased as error:
        raise RepairRefused(str(error), replace(verified, possibly_erased=tuple(map(str, error.ids)))) from error


def _repaired(
    verified: Verified, collections: list[DriftReport], max_changes: int | None, discard_vectors: int, *, force: bool
) -> Verified:
    if (unique := count_unique(collections)) > discard_vectors:
        raise RepairRefused(str(UniqueVectorsFound(unique, discard_vectors)), verified)
    if not force and (refusal := too_many(collections, max_changes)) is not None:
        raise ChangeLimitExceeded(refusal, verified)
    targets = registry.write_targets()
    with qdrant() as client:
        return replace(verified, **asdict(repair(client, [found for found in collections if found.name in targets])))


def _rows(client: QdrantClient) -> list[VectorCollection]:
    """Those that are written, the live one first. Of the others, one that Qdrant has lost is marked as failed by the next worker."""
    live = registry.live()
    if live is None:
        raise CollectionNotFound(collection_name())
    targets = registry.write_targets()
    rows = VectorCollection.objects.in_bulk(targets)
    return [rows[name] for name in targets if name in rows and (name == live or client.collection_exists(name))]


def _restore_detected(client: QdrantClient) -> str | None:
    try:
        compare_checkpoints(client)
    except RestoreDetected as error:
        return error.what
    return None


def _compare(
    rows: list[VectorCollection], collections: list[DriftReport], totals: list[int], of_live: Iterator[Points], report: Report
) -> tuple[int, list[tuple[VectorCollection, DriftReport]]]:
    """How many people are to have a point; and what was compared: all but what somebody has dropped meanwhile."""
    refreshed = StoreState.current().ages_refreshed_on
    done = users = 0
    compared = []
    for index, (row, found, total) in enumerate(zip(rows, collections, totals, strict=True)):

        def so_far(seen: int, _total: int | None = None, /, done: int = done, total: int = total) -> None:
            report(done + min(seen, total), sum(totals))

        building = row.state == VectorCollection.State.BUILDING
        try:
            points = of_live if row is rows[0] else None
            users = verify_collection(found, building=building, ages_valid_on=refreshed, report=so_far, points=points)
        except CollectionNotFound:
            _check_secondary(row)
        else:
            compared.append((row, found))
        totals[index] = max(users, found.points)  # what was a guess is known
        done += totals[index]
        report(done, sum(totals))
    return users, compared


def _check_secondary(row: VectorCollection) -> None:
    """Raises StoreUnavailable where the collection that is gone is, or was, the one that is searched."""
    if row.name == registry.live():
        raise CollectionNotFound(row.name)
    if row.state == VectorCollection.State.LIVE:
        raise StoreUnavailable(f"{row.name!r} was searched no longer, and dropped, while it was compared: run it again.")


def _totals(client: QdrantClient, rows: list[VectorCollection]) -> list[int]:
    """Roughly, what there is to compare: points, or people where they are more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'profile_embeddings'::regclass")
        (users,) = cursor.fetchone()
    return [max(_points_in(client, row.name), users) for row in rows]


def _points_in(client: QdrantClient, collection: str) -> int:
    with suppress(CollectionNotFound), qdrant():
        return client.count(collection, exact=False).count
    return 0


def _record(started: datetime, users: int, collections: list[DriftReport], restore_detected: str | None) -> None:
    """Counts only, nobody's id; the newest REMEMBERED runs."""
    found: dict[str, Any] = {
        "users": users,
        "quarantined": QuarantinedUser.objects.count(),
        "restore_detected": restore_detected is not None,
        "collections": {found.name: found.counts() for found in collections},
    }
    Verification.objects.create(alias=collection_name(), started_at=started, result=found)
    runs = Verification.objects.filter(alias=collection_name())
    runs.exclude(pk__in=list(runs.order_by("-finished_at", "-pk").values_list("pk", flat=True)[:REMEMBERED])).delete()


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
