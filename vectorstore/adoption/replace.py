"""Replace a real collection that has the alias's name by an alias, as after the guide's program.

Qdrant renames no collection, and a name belongs either to a collection or to an alias. So a new collection is built from PostgreSQL and checked, and
a copy of the old one is retained. Then the old one is deleted and the alias is set at once. In between there is nothing to search. No other step has
such a gap.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report
from findme.core.errors import UserFacingError, one_line
from vectorstore.adoption.copy import Copy, delete_snapshots, drop_copy, retain_copy
from vectorstore.adoption.losses import require_stored
from vectorstore.adoption.survey import Survey, Vectors
from vectorstore.catalog import registry
from vectorstore.catalog.alias import AT_ONCE, point_alias
from vectorstore.catalog.saved_settings import forget_settings
from vectorstore.consistency.deletions import note_deletion_time
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.acceptance import accept
from vectorstore.rebuild.build import build
from vectorstore.rebuild.promote import promote
from vectorstore.retention.drop import DROP_SECONDS
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.snapshots.nodes import Node


@dataclass(frozen=True, slots=True)
class Replaced:
    """The collection behind the alias, the counts of its acceptance check, and how long there was nothing to search.

    ``copy`` of the old collection is retained until ``retained_until``, both None if there is none. ``snapshots`` of the old one were deleted.
    """

    collection: str
    users: int
    points: int
    gap_seconds: float
    copy: str | None = None
    retained_until: datetime | None = None
    snapshots: tuple[str, ...] = ()


def replace_by_alias(
    nodes: Sequence[Node], vectors: Vectors, survey: Survey, *, copy: Copy | None, timeout: float, limit: DiscardLimit, report: Report
) -> Replaced:
    """Build a collection and replace the real one that has the alias's name. Only under ``collection_lock``.

    ``nodes`` are the servers, none for the embedded store. Without ``copy`` none is retained. Raises UserFacingError, with the real collection
    unchanged, if the new one fails its check, if the copy cannot be made, or if more vectors than the ``limit`` were written to the real one since
    the ``survey``. After a kill between deletion and alias, the next ``init_qdrant`` sets the alias.
    """
    old = collection_name()
    gap, is_deleting = 0.0, False
    deleted: tuple[str, ...] = ()

    def switch(client: QdrantClient, target: str, retain: timedelta | None) -> None:
        nonlocal gap, deleted, is_deleting
        now = survey.with_changes(vectors.changes(report))
        require_stored(now, limit, old, f"{old!r} was not changed. Another program wrote to it meanwhile")
        registry.prepare(target, retain)
        deleted = tuple(one.name for one in delete_snapshots(nodes, old))
        note_deletion_time()
        begun, is_deleting = time.monotonic(), True
        client.delete_collection(old, timeout=DROP_SECONDS)
        point_alias(client, target)
        gap = time.monotonic() - begun
        forget_settings(old)
        registry.reconcile(target)

    collection, _ = build(timeout=timeout, report=report)
    # There is no collection to compare recall with.
    accepted = accept(collection, min_recall=0.0, report=report)
    copied = retain_copy(nodes, old, vectors.vector, copy, report) if copy is not None else None
    try:
        promote(accepted, retain=AT_ONCE, limit=limit, switch=switch)
    except BaseException as error:
        if not is_deleting:
            _drop_unneeded_copy(nodes)
        elif isinstance(error, UserFacingError):
            raise UserFacingError(
                f"{one_line(error)} Searches may fail now. Run manage.py init_qdrant --adopt, which sets the alias."
            ) from error
        # A service may have created a collection with this name again. The copy is then all that is left of the old one.
        raise
    row = registry.rows().filter(name=copied).first()
    return Replaced(collection, accepted.users, accepted.points, gap, copied, row.retain_until if row else None, deleted)


def _drop_unneeded_copy(nodes: Sequence[Node]) -> None:
    """Drop the copy after an error, while the original still exists. If this fails, the next run drops it."""
    with suppress(UserFacingError), qdrant() as client:
        drop_copy(client, nodes)
