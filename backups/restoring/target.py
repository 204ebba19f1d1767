"""What is checked of the target before a restore begins, so that nothing is begun that cannot end."""

from __future__ import annotations

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.postgresql.tables import dumped_tables
from backups.restoring.sources import Source
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from privacy.ledger.keys import subject_keys
from privacy.ledger.outside import outside_ledger
from privacy.ledger.signing import verifying_keys
from vectorstore.qdrant.connection import is_embedded


def require_empty(connection: BaseDatabaseWrapper) -> None:
    """Raise UserFacingError if the database of ``connection`` has tables."""
    if tables := dumped_tables(connection):
        name = connection.settings_dict["NAME"]
        raise UserFacingError(
            f"The database {name!r} is not empty: it has {counted(len(tables), 'table')}. Nothing was restored. With --force the backup takes its place,"
            f" and it stays under another name until restore --drop-old."
        )


def uses_snapshots(source: Source, only: str) -> bool:
    """Return whether the collection comes from the snapshots of the backup. Otherwise it is built from PostgreSQL."""
    return source.has_snapshots() and only != "postgres" and not is_embedded()


def require_ledger() -> None:
    """Raise UserFacingError or StoreUnavailable if the erasures since the backup could not be repeated: without the keys, or the ledger outside."""
    if settings.ERASURE_LEDGER_URL:
        subject_keys()
        verifying_keys()
        outside_ledger()
