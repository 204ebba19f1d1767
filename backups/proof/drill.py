"""Which backup a drill restores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection

from backups.destinations.destination import Destination
from backups.listing import list_recorded
from backups.postgres import database_of
from findme.core.errors import UserFacingError

if TYPE_CHECKING:
    from privacy.ledger.signing import VerifyingKeys


def newest_complete(destination: Destination, keys: VerifyingKeys) -> str:
    """Return the name of the newest complete backup of this database. Raise UserFacingError if there is none, and StoreUnavailable."""
    identity = database_of(connection).identity
    for one in list_recorded(destination, keys):
        if one.manifest is not None and one.is_good and one.manifest.is_complete and one.manifest.database.identity == identity:
            return one.name
    raise UserFacingError(
        f"There is no complete backup of this database in {destination.name!r}: nothing was done. See manage.py list_backups, and make one with manage.py"
        " backup."
    )
