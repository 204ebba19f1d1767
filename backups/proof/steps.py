"""What a proof does in the scratch database, in a process that cannot name the live database and the live collection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connection

from backups.manifest import Database
from backups.postgres import database_of
from backups.proof.collections import COLLECTION
from findme.core.commands.progress import Report
from findme.core.errors import UserFacingError
from findme.migrator.version import schema_version
from vectorstore.catalog.alias import AT_ONCE, alias_target
from vectorstore.catalog.lock import collection_lock
from vectorstore.models import ProfileEmbedding, QueueEntry, SyncLease, SyncWorker
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.acceptance import accept
from vectorstore.rebuild.build import build
from vectorstore.rebuild.promote import promote
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.snapshots.restore import restore

ANY_RECALL = 0.0
"""A proof is about the data. The recall depends on the vectors, is reported, and fails no proof."""
ANY_NUMBER = 10**12


def prove(*, database: dict[str, Any], snapshots: Sequence[str], nodes: Sequence[str], seconds: float, report: Report) -> dict[str, Any]:
    """Bring the schema up to date, then restore the snapshots, or build a collection from PostgreSQL, and accept it.

    ``database`` is the ``Database`` in which this must run. Raise UserFacingError for another one, and if the stores do not agree in the end.
    """
    _require(database)
    applied = _migrate()
    _end_unfinished_work()
    return {"applied_migrations": applied, **_vector_store(list(map(Path, snapshots)), nodes, seconds, report)}


def _require(expected: dict[str, Any]) -> None:
    found = database_of(connection)
    if found != Database(**expected):
        raise UserFacingError(
            f"The process of the proof is connected to the database {found.name!r}, which is not the scratch database: nothing was changed there."
            " Let DATABASE_URL name the server itself, and not a pooler."
        )
    if not COLLECTION.fullmatch(f"{collection_name()}_v1"):
        raise UserFacingError(f"The collection of a proof would be {collection_name()!r}, which is no scratch name: nothing was changed.")


def _migrate() -> list[str]:
    """Apply the migrations that the backup lacks, and return their names."""
    pending = list(schema_version().unapplied)
    if pending:
        call_command("migrate", interactive=False, verbosity=0)
    found = schema_version()
    if not found.is_current:
        missing = (*found.unapplied, *found.unknown)
        raise UserFacingError(
            f"The migrations of the restored database are not those of this release ({missing[0]}). Install the release of the backup."
        )
    return pending


def _end_unfinished_work() -> None:
    """Delete the leases of workers that ran when the backup was made, and the queue: every point is compared anyway."""
    for model in (SyncLease, SyncWorker, QueueEntry):
        model.objects.all().delete()


def _vector_store(snapshots: list[Path], nodes: Sequence[str], seconds: float, report: Report) -> dict[str, Any]:
    with qdrant() as client:
        if (target := alias_target(client)) is not None:
            raise UserFacingError(f"The alias {collection_name()!r} of the proof exists already, for {target!r}: nothing was changed.")
    limit = DiscardLimit(ANY_NUMBER)
    if snapshots:
        found = restore(snapshots, nodes=nodes, retain=AT_ONCE, min_recall=ANY_RECALL, limit=limit, seconds=seconds, report=report)
        accepted, removed, written = found.acceptance, found.removed, found.written
    else:
        with collection_lock():
            name, built = build(report=report)
            accepted = accept(name, min_recall=ANY_RECALL, report=report)
            promote(accepted, retain=AT_ONCE, limit=limit)
        removed, written = 0, built.written
    users = ProfileEmbedding.objects.projectable().count()
    return {
        "points": users,
        "removed": removed,
        "written": written,
        "unique_vectors": limit.total,
        "recall": None if accepted is None else accepted.recall,
    }
