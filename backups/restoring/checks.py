"""What is checked before a restore begins, so that nothing is begun that cannot end."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from backups.manifest import Manifest, QdrantPart
from backups.postgresql.tables import dumped_tables
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from privacy.ledger.keys import subject_keys
from privacy.ledger.outside import outside_ledger
from privacy.ledger.signing import verifying_keys
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.snapshots.nodes import every_node, server_version

SHOWN = 3


def require_known_migrations(manifest: Manifest) -> None:
    """Raise UserFacingError if the database of the backup has migrations that this release does not know."""
    assert manifest.postgresql is not None
    loader = MigrationLoader(None, ignore_no_migrations=True)
    known = {f"{app}.{name}" for app, name in loader.disk_migrations}
    # A squashed migration stands for those that it replaced.
    known |= {f"{app}.{name}" for one in loader.disk_migrations.values() for app, name in one.replaces}
    if unknown := sorted(set(manifest.postgresql.migrations) - known):
        raise UserFacingError(
            f"The backup is of another release, {manifest.app_version}: this one does not know {counted(len(unknown), 'migration')} of it, such as"
            f" {', '.join(unknown[:SHOWN])}. Nothing was restored. Install that release, then run the command again."
        )


def require_empty(connection: BaseDatabaseWrapper) -> None:
    """Raise UserFacingError if the database of ``connection`` has tables."""
    if tables := dumped_tables(connection):
        name = connection.settings_dict["NAME"]
        raise UserFacingError(
            f"The database {name!r} is not empty: it has {counted(len(tables), 'table')}. Nothing was restored. With --force the backup takes its place,"
            f" and it stays under another name until restore --drop-old."
        )


def require_snapshot_version(part: QdrantPart, nodes: Sequence[str]) -> None:
    """Raise UserFacingError if the server cannot take the snapshots: it must have their minor version or the next one. Raise StoreUnavailable."""
    with qdrant() as client:
        for node in every_node(client, nodes):
            found = server_version(node)
            if not takes(found, part.server_version):
                raise UserFacingError(
                    f"Qdrant {found} cannot take a snapshot of Qdrant {part.server_version}: it must be of the same minor version or the next one."
                    " Nothing was restored. Add --only postgres: then the collection is built from PostgreSQL."
                )


def takes(server: str, snapshot: str) -> bool:
    """Return whether a server of the version ``server`` can take a snapshot that ``snapshot`` has made."""
    (major, minor), (other_major, other_minor) = (tuple(map(int, version.split(".")[:2])) for version in (server, snapshot))
    return major == other_major and minor - other_minor in (0, 1)


def uses_snapshots(manifest: Manifest, only: str) -> bool:
    """Return whether the collection comes from the snapshots of the backup. Otherwise it is built from PostgreSQL."""
    return manifest.qdrant is not None and only != "postgres" and not is_embedded()


def require_ledger() -> None:
    """Raise UserFacingError or StoreUnavailable if the erasures since the backup could not be repeated: without the keys, or the ledger outside."""
    if settings.ERASURE_LEDGER_URL:
        subject_keys()
        verifying_keys()
        outside_ledger()
