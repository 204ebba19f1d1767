"""Notes of triggers, in the order of the ledger. What was undone before the ledger had it is recorded, and is not completed any more."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import DatabaseError

from findme.core.db.expressions import IsAmong
from findme.core.errors import UserFacingError, one_line
from findme.core.postgresql.arrays import integer_array, uuid_array
from privacy.ledger.book import NewEntry, last_checkpoint
from privacy.ledger.entry import Kind
from privacy.ledger.keys import SubjectKeys, subject_keys
from privacy.ledger.publication import record_entries
from privacy.ledger.states import action_of, is_undoing, last_counts, last_kinds, undoing
from privacy.models import PendingAction
from privacy.users import anonymized_email

HIDING = {Kind.SOFT_DELETE: "deleted_at", Kind.RESTRICT: "restricted_at", Kind.OBJECT: "objected_at"}
"""The column of ``users`` that has a time while the action is in force."""
ACTIONS = (Kind.ERASE, Kind.ANONYMIZE, *HIDING)

logger = logging.getLogger(__name__)


def record_missing(rows: Sequence[PendingAction]) -> int:
    """Record the rows that the ledger lacks, and return the number of entries. Raise as ``record_entries``.

    The undoings, and what they undo, need no completion. They are deleted in the transaction of their entries, so none is recorded twice.
    """
    keys = subject_keys()
    if next(unrecorded(rows, keys), None) is None and not _settled(rows):
        return 0

    def new() -> list[NewEntry]:
        # Another process may have recorded or completed some of them meanwhile.
        still = list(PendingAction.objects.filter(IsAmong("pk", integer_array(row.pk for row in rows), "bigint")).order_by("pk"))
        entries = list(unrecorded(still, keys))
        PendingAction.objects.filter(pk__in=_settled(still)).delete()
        return entries

    return len(record_entries(new))


def record_now(user_id: UUID) -> None:
    """Record what the triggers have noted of the user, right after the commit of an action that hides or shows the user.

    A note that is recorded and needs nothing more is deleted. If the ledger is unavailable, or if this process is killed, ``process_pending`` does it.
    """
    try:
        rows = list(PendingAction.objects.filter(user_id=user_id, is_held=False).order_by("pk"))
        if rows:
            record_missing(rows)
            PendingAction.objects.filter(pk__in=[row.pk for row in rows if _is_complete(row)]).delete()
    except (UserFacingError, DatabaseError) as error:
        logger.warning("An action of %s is not in the ledger yet. manage.py process_requests will add it. %s", user_id, one_line(error))


def _is_complete(row: PendingAction) -> bool:
    """Return whether the recorded action needs nothing more. An objection with counts may have an embedding to delete (``finish_stop``)."""
    return Kind(row.kind) in HIDING and not (row.kind == Kind.OBJECT and last_counts(row.user_id, Kind.OBJECT, subject_keys()))


def unrecorded(rows: Iterable[PendingAction], keys: SubjectKeys) -> Iterator[NewEntry]:
    """Yield an entry for each row whose kind is not the last one of the user's in the ledger.

    An undone erasure also undoes what was done before it and is not in force in the database, because a user who comes back begins again.
    """
    rows = list(rows)
    last = last_kinds({row.user_id for row in rows}, keys)
    is_complete = not last_checkpoint().position
    in_force = _in_force({row.user_id for row in rows if row.kind == Kind.UNDO_ERASE})
    for row in rows:
        kind = Kind(row.kind)
        key = row.user_id, action_of(kind)
        # A user who was never hidden need not be shown again, in the ledger. An old entry may have been deleted after its retention.
        if last.get(key) is not kind and not (key not in last and is_undoing(kind) and is_complete):
            yield NewEntry(kind, row.user_id)
            last[key] = kind
            if kind is Kind.UNDO_ERASE:
                for action in (Kind.ANONYMIZE, *HIDING):
                    if last.get((row.user_id, action)) is action and action not in in_force.get(row.user_id, ()):
                        yield NewEntry(undoing(action), row.user_id)
                        last[row.user_id, action] = undoing(action)


def settle_undone(user_ids: Collection[UUID]) -> None:
    """Record the notes of these users up to the last undoing, and delete those that were undone. Raise as ``record_entries``.

    Call this before an action, outside a transaction: an entry of the action must follow them.
    """
    if rows := _up_to_undoing(user_ids):
        record_missing(rows)


def _up_to_undoing(user_ids: Collection[UUID]) -> list[PendingAction]:
    """Return the pending rows of these users, in order, each up to the user's last undoing."""
    of_users = PendingAction.objects.filter(IsAmong("user_id", uuid_array(user_ids)), is_held=False).order_by("pk")
    ends = {row.user_id: row.pk for row in of_users if is_undoing(Kind(row.kind))}
    return [row for row in of_users if row.pk <= ends.get(row.user_id, 0)] if ends else []


def _settled(rows: Sequence[PendingAction]) -> list[int]:
    """Return the keys of the undoings, and of the actions that they undo. An undone erasure undoes every action before it."""
    ends: dict[tuple[UUID, Kind], int] = {}
    for row in rows:
        kind = Kind(row.kind)
        if is_undoing(kind):
            ends |= {(row.user_id, action): row.pk for action in (ACTIONS if kind is Kind.UNDO_ERASE else [action_of(kind)])}
    return [row.pk for row in rows if row.pk <= ends.get((row.user_id, action_of(Kind(row.kind))), 0)]


def _in_force(user_ids: Collection[UUID]) -> Mapping[UUID, set[Kind]]:
    """Return what hides or anonymizes each of these users in the database now. A user who is gone is left out."""
    if not user_ids:
        return {}
    rows = get_user_model()._base_manager.filter(pk__in=user_ids).values_list("pk", "email", *HIDING.values())
    return {
        user_id: {action for action, since in zip(HIDING, times, strict=True) if since is not None}
        | ({Kind.ANONYMIZE} if email == anonymized_email(user_id) else set())
        for user_id, email, *times in rows
    }
