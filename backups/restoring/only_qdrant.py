"""Restore the snapshot of a backup. PostgreSQL stays, and decides what is in the collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups.checks import require_snapshot_version
from backups.contents import StoredBackup, extract_snapshots
from backups.listing import manifest_in
from backups.restoring.files import require_room
from backups.restoring.restore import Request
from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.snapshots.downloads import download_folder
from vectorstore.snapshots.nodes import refuse_embedded
from vectorstore.snapshots.restore import RestoreResult, restore

if TYPE_CHECKING:
    from privacy.ledger.signing import VerifyingKeys


def restore_only_qdrant(stored: StoredBackup, keys: VerifyingKeys, request: Request, report: Report = ignore_progress) -> RestoreResult:
    """Restore the snapshot of the backup into a new collection, make it equal to PostgreSQL, and make it live.

    Raises UserFacingError and StoreUnavailable. Then the alias has not moved.
    """
    refuse_embedded("snapshots")
    manifest = manifest_in(stored.destination, stored.name, keys)
    if manifest.qdrant is None:
        raise UserFacingError(
            f"{stored.name!r} has no part of Qdrant: nothing was restored. manage.py reindex_qdrant builds the collection from PostgreSQL."
        )
    require_snapshot_version(manifest.qdrant, request.servers.urls)
    with download_folder(request.folder) as folder:
        require_room(folder, sum(node.file.plain_size for node in manifest.qdrant.nodes))
        return restore(
            extract_snapshots(stored, manifest.qdrant, folder, report),
            nodes=request.servers.urls,
            min_recall=request.min_recall,
            limit=DiscardLimit(request.discard_vectors),
            seconds=request.servers.seconds,
            timeout=request.timeout,
            report=report,
        )
