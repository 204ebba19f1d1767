"""Record a privacy action in the ledger before it destroys anything."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from findme.core.errors import UserFacingError
from privacy.audit import OutcomeUnknown
from privacy.ledger.book import NewEntry
from privacy.ledger.entry import Kind
from privacy.ledger.keys import subject_keys
from privacy.ledger.publication import record_entries
from privacy.ledger.states import last_kinds, undoing
from privacy.models import COUNTED, PendingAction
from privacy.registry import Effect, registry

COVERED = {Kind.ERASE: (Kind.ERASE, Kind.ANONYMIZE, Kind.SOFT_DELETE), Kind.ANONYMIZE: (Kind.ANONYMIZE, Kind.SOFT_DELETE)}
"""The pending actions that an action completes. A trigger notes a deletion for each of them."""

logger = logging.getLogger(__name__)


@contextmanager
def recorded(kind: Kind, user_id: UUID, counts: Mapping[str, int]) -> Iterator[None]:
    """Record the action outside the database, run the block, which must call ``complete`` in its transaction, and undo the record if it fails.

    If this process is killed in the block, ``process_pending`` completes the action. So does it if the outcome is unknown, or if the undoing
    cannot be recorded. An action that is the last one of the user in the ledger is not recorded again. Raise as ``record_entries`` does, before the
    block.
    """
    if last_kinds([user_id], subject_keys()).get((user_id, kind)) is kind:
        yield
        return
    pending = PendingAction.objects.create(user_id=user_id, kind=kind)
    try:
        record_entries([NewEntry(kind, user_id, counts)])
    except UserFacingError:
        pending.delete()
        raise
    try:
        yield
    except OutcomeUnknown:
        raise
    except BaseException:
        _undo(kind, user_id)
        raise


def complete(kind: Kind, user_id: UUID) -> None:
    """Delete the pending actions that ``kind`` completes, in the transaction that changes the data."""
    PendingAction.objects.filter(user_id=user_id, kind__in=COVERED.get(kind, (kind,))).delete()


def counts_of(effects: Iterable[tuple[str, list[Effect]]]) -> dict[str, int]:
    """Return the number of objects by section of an owner or name of a store, as the ledger takes them."""
    totals = {name.replace(" ", "_"): sum(effect.count or 0 for effect in found) for name, found in effects}
    return {name: total for name, total in totals.items() if total and name in COUNTED}


def counts_of_erasure(user_id: UUID) -> dict[str, int]:
    return counts_of((owner.section, owner.after_erasure(user_id)) for owner in registry.owners)


def counts_of_anonymization(user_id: UUID) -> dict[str, int]:
    return counts_of((owner.section, owner.after_anonymization(user_id)) for owner in registry.owners)


def _undo(kind: Kind, user_id: UUID) -> None:
    """Record that the action was not done."""
    try:
        record_entries([NewEntry(undoing(kind), user_id)])
    except Exception:  # the caller raises the first error
        logger.exception("%s was not done, and the ledger could not record that. process_requests will do it.", kind.label)
    else:
        complete(kind, user_id)
