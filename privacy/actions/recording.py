"""Record a privacy action in the ledger before it destroys anything."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from privacy.actions.notes import settle_undone
from privacy.audit import OutcomeUnknown
from privacy.ledger.book import NewEntry
from privacy.ledger.entry import Kind
from privacy.ledger.keys import subject_keys
from privacy.ledger.publication import record_entries
from privacy.ledger.states import last_counts, last_kinds, undoing
from privacy.models import COUNTED, PendingAction
from privacy.registry import Effect, registry

COVERED = {Kind.ERASE: (Kind.ERASE, Kind.ANONYMIZE, Kind.SOFT_DELETE), Kind.ANONYMIZE: (Kind.ANONYMIZE, Kind.SOFT_DELETE)}
"""The pending actions that an action completes. A trigger notes a deletion for each of them."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Recording:
    """An action in the ledger. ``is_final``: something outside PostgreSQL is destroyed, so an error does not undo the record."""

    is_final: bool = False


def is_recorded(kind: Kind, user_id: UUID) -> bool:
    """Return whether the action is the last one of its kind in the ledger: it has begun, and must be completed."""
    return last_kinds([user_id], subject_keys()).get((user_id, kind)) is kind


@contextmanager
def recorded(
    kind: Kind, user_id: UUID, counts: Mapping[str, int], plan_digest: bytes | None = None, *, even_again: bool = False
) -> Iterator[Recording]:
    """Record the action outside the database, run the block, which must call ``complete`` in its transaction, and undo the record if it fails.

    If this process is killed in the block, ``process_pending`` completes the action. So does it if the outcome is unknown, or if the undoing
    cannot be recorded. An action that is the last one of the user in the ledger is not recorded again, except with ``even_again``. Then it is not undone
    either, because the earlier one stays in force. Raise as ``record_entries`` does, before the block. If the entry was committed and not published, the
    action stays pending.
    """
    recording = Recording()
    settle_undone([user_id])
    in_force = is_recorded(kind, user_id)
    if in_force and not even_again:
        yield recording
        return

    def begin() -> list[NewEntry]:
        # The note is in the transaction of the entry, so a process that is killed in between leaves neither.
        PendingAction.objects.create(user_id=user_id, kind=kind)
        return [] if _was_recorded(kind, user_id, even_again=even_again) else [NewEntry(kind, user_id, counts, plan_digest)]

    record_entries(begin)
    try:
        yield recording
    except OutcomeUnknown:
        raise
    except BaseException:
        if in_force:
            complete(kind, user_id)
        elif not recording.is_final:
            _undo(kind, user_id)
        raise


def _was_recorded(kind: Kind, user_id: UUID, *, even_again: bool) -> bool:
    """Return whether another process has recorded the action meanwhile, with its counts if they matter."""
    return is_recorded(kind, user_id) and (not even_again or bool(last_counts(user_id, kind, subject_keys())))


def complete(kind: Kind, user_id: UUID) -> None:
    """Delete the pending actions that ``kind`` completes, in the transaction that changes the data."""
    PendingAction.objects.filter(user_id=user_id, kind__in=COVERED.get(kind, (kind,))).delete()


def counts_of(effects: Iterable[tuple[str, list[Effect]]]) -> dict[str, int]:
    """Return the number of objects by section of an owner or name of a store, as the ledger takes them."""
    totals = {name.replace(" ", "_"): sum(effect.count or 0 for effect in found) for name, found in effects}
    return {name: total for name, total in totals.items() if total and name in COUNTED}


def counts_of_anonymization(user_id: UUID) -> dict[str, int]:
    return counts_of((owner.section, owner.after_anonymization(user_id)) for owner in registry.owners)


def _undo(kind: Kind, user_id: UUID) -> None:
    """Record that the action was not done."""
    try:
        record_entries(lambda: [NewEntry(undoing(kind), user_id)])
    except Exception:  # the caller raises the first error
        logger.exception("%s was not done, and the ledger could not record that. process_requests will do it.", kind.label)
    else:
        complete(kind, user_id)
