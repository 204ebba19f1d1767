"""What the ledger says about users. Each kind of action has an undoing, and the last entry of the two counts."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.contrib.postgres.functions import TransactionNow
from django.db.models import Min

from findme.core.db.expressions import IsAmong
from findme.core.postgresql.arrays import bytea_array
from privacy.ledger.entry import Kind
from privacy.ledger.keys import SubjectKeys
from privacy.models import LedgerEntry, PendingAction


def undoing(kind: Kind) -> Kind:
    """Return the kind that undoes ``kind``."""
    return Kind(kind + 1)


def is_undoing(kind: Kind) -> bool:
    return kind % 2 == 0


def action_of(kind: Kind) -> Kind:
    """Return the action that ``kind`` does or undoes."""
    return Kind(kind - 1) if is_undoing(kind) else kind


def last_kinds(user_ids: Collection[UUID], keys: SubjectKeys) -> dict[tuple[UUID, Kind], Kind]:
    """Return the kind of the last entry for each of these users and each action that has an entry."""
    users = {subject: user_id for user_id in user_ids for subject in keys.subjects(user_id)}
    found = LedgerEntry.objects.filter(IsAmong("subject", bytea_array(users), "bytea")).order_by("position").values_list("subject", "kind")
    return {(users[bytes(subject)], action_of(Kind(kind))): Kind(kind) for subject, kind in found}


def last_counts(user_id: UUID, action: Kind, keys: SubjectKeys) -> dict[str, int]:
    """Return the counts of the user's last entry of this action, empty if there is none, or if it was undone."""
    entries = LedgerEntry.objects.filter(subject__in=keys.subjects(user_id), kind__in=(action, undoing(action)))
    last = entries.order_by("-position").values_list("kind", "counts").first()
    return last[1] if last is not None and last[0] == action else {}


def oldest_pending_seconds() -> float | None:
    """Return the age of the oldest pending action, or None. An action that waits for a hold is in the ledger."""
    found = PendingAction.objects.filter(is_held=False).aggregate(age=TransactionNow() - Min("noted_at"))["age"]
    return None if found is None else max(float(found.total_seconds()), 0.0)
