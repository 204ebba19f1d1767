"""What a restore does in the restored database before any other process sees it. The functions run in other processes (``backups.apart``)."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from backups.restoring.fit import end_past
from findme.core.commands.progress import Report
from findme.core.db.restored import BACKUPS, SEARCHES
from findme.core.errors import UserFacingError, one_line
from findme.migrator.version import schema_version
from privacy.actions.replay import replay
from vectorstore.consistency.restored import forget_collections, raise_above_found
from vectorstore.qdrant.connection import qdrant
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.schema.initialize import initialize
from vectorstore.snapshots.aside import make_aside, upload_aside


def make_fit(*, new_id: bool, is_of_the_guide: bool, report: Report) -> dict[str, Any]:  # noqa: ARG001  # run_apart passes it
    """Apply newer migrations, end what belongs to the time of the backup, and repeat the erasures since.

    The Qdrant of this process is an empty embedded one: the collections of the live database are not written. Raises UserFacingError if a user must
    wait, for example because a store of files does not answer.
    """
    if is_of_the_guide:
        _baseline()
    if schema_version().unapplied:
        call_command("migrate", verbosity=0, interactive=False)
    ended = list(end_past(new_id=new_id, unsaid={BACKUPS, SEARCHES}))
    repeated: dict[str, int] = {}
    rectifications: list[str] = []
    if settings.ERASURE_LEDGER_URL:
        initialize()
        result = replay()
        for user_id, reason in result.waiting.items():
            raise UserFacingError(f"The erasures since the backup cannot all be repeated, such as that of {user_id}: {reason}")
        repeated, rectifications = result.repeated, [str(user_id) for user_id in result.rectifications]
        forget_collections()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return {"ended": ended, "is_replayed": bool(settings.ERASURE_LEDGER_URL), "repeated": repeated, "rectifications": rectifications}


def _baseline() -> None:
    """Convert the tables of the guide. Raise UserFacingError if a row breaks a rule of FindMe."""
    try:
        call_command("baseline", no_input=True, stdout=io.StringIO())
    except CommandError as error:
        raise UserFacingError(
            f"The dump has the tables of the guide, and they cannot be converted: {one_line(error)} Restore it with --into a database of its own, and"
            " correct the rows there."
        ) from error


def upload_collection(*, name: str, snapshots: list[str], nodes: list[str], seconds: float, report: Report) -> dict[str, Any]:  # noqa: ARG001  # Apart passes it
    """Recover the snapshots into the collection ``name``, while PostgreSQL is restored. Nothing reads a progress meanwhile."""
    upload_aside([Path(path) for path in snapshots], name=name, nodes=nodes, seconds=seconds)
    connection.close()  # the settings of the database are restored later
    return {}


def make_collection(
    *, name: str, is_uploaded: bool, min_recall: float | None, discard_vectors: int, timeout: float, report: Report
) -> dict[str, Any]:
    """Make the collection ``name`` from the snapshots that ``upload_collection`` has recovered, or from PostgreSQL, and accept it.

    The alias does not move.
    """
    with qdrant() as client:
        raise_above_found(client)
    made = make_aside(
        name=name,
        is_uploaded=is_uploaded,
        min_recall=min_recall,
        limit=DiscardLimit(discard_vectors),
        timeout=timeout,
        report=report,
    )
    return asdict(made)
