"""Make a restored database fit to serve: end what it remembers of a world that is gone.

There are two phases. Before the switch, ``end_past`` runs in the restored database, which then knows no collection that exists. After the switch,
``register_collections`` registers the collections of the Qdrant that is there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.db import transaction

from findme.core.db.restored import end_everything
from vectorstore.catalog.lock import collection_lock
from vectorstore.consistency.restored import (
    Registered,
    forget_collections,
    raise_above_found,
    register_found,
)
from vectorstore.qdrant.connection import qdrant


def preview() -> Sequence[str]:
    """Return what ``end_past`` would say. Nothing is changed, and Qdrant is not asked."""
    with transaction.atomic():
        ended = end_everything()
        transaction.set_rollback(True)
    return ended


def end_past(*, new_id: bool = False, unsaid: Collection[str] = ()) -> Sequence[str]:
    """End what belongs to the time of the backup in Django's default database, and return a sentence for each thing that was ended.

    Qdrant is only read: the version sequence is set above every version in it. Use ``new_id`` for a copy that will serve next to the database it was
    made of. ``unsaid`` as in ``end_everything``. A process that is killed has changed nothing, or all but the sequence, and a second run does the rest.
    Raise UserFacingError and StoreUnavailable.
    """
    ended = end_everything(unsaid=unsaid)
    if new_id:
        forget_collections(new_id=True)
    with qdrant() as client:
        raise_above_found(client)
    return ended


def register_collections(*, compared: bool) -> Registered:
    """Register the collections that Qdrant has for the restored database, which serves from now on.

    Without ``compared``, no worker writes until ``verify_qdrant --repair`` has compared the stores. Raise UserFacingError and StoreUnavailable.
    """
    with collection_lock(), qdrant() as client:
        raise_above_found(client)
        return register_found(client, compared=compared)
