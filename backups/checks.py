"""What prevents a restore of a backup, and is found before anything is restored."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.migrations.loader import MigrationLoader

from backups.manifest import Manifest, PostgresqlPart, QdrantPart
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from findme.migrator.version import files_of
from vectorstore.qdrant.connection import qdrant
from vectorstore.snapshots.nodes import every_node, server_version

SHOWN = 3


def require_known_migrations(manifest: Manifest, part: PostgresqlPart) -> None:
    """Raise UserFacingError if the database of the backup has migrations that this release does not know."""
    known = files_of(MigrationLoader(None)).names  # without a database
    if unknown := [name for name in part.migrations if name not in known]:
        raise UserFacingError(
            f"{manifest.name!r} is of a later release of FindMe, {manifest.app_version}: this one does not have {counted(len(unknown), 'migration')} of it,"
            f" such as {', '.join(unknown[:SHOWN])}. Nothing was done. Install that release, then run the command again."
        )


def require_snapshot_version(part: QdrantPart, nodes: Sequence[str]) -> None:
    """Raise UserFacingError if a server cannot take the snapshots: it must have their minor version or the next one. Raise StoreUnavailable."""
    with qdrant() as client:
        for node in every_node(client, nodes):
            if not takes(found := server_version(node), part.server_version):
                raise UserFacingError(
                    f"Qdrant {found} cannot take a snapshot of Qdrant {part.server_version}: nothing was done. Use a server of the same minor version, or"
                    " one later. Or let restore build the collection from PostgreSQL, with --only postgres."
                )


def takes(server: str, snapshot: str) -> bool:
    """Return whether a server of the version ``server`` can take a snapshot that ``snapshot`` has made."""
    (major, minor), (other_major, other_minor) = (tuple(map(int, version.split(".")[:2])) for version in (server, snapshot))
    return major == other_major and minor - other_minor in (0, 1)
