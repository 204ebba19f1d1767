"""Rectifications that a restored database has lost: the ledger has an entry for each answered request, without the data.

Only the officer can repeat a rectification. The entry has the SHA-256 of the request's id, so the database knows which ones it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TypeAlias
from uuid import UUID

from privacy.ledger.book import NewEntry
from privacy.ledger.entry import Entry, Kind
from privacy.ledger.keys import SubjectKeys, subject_keys
from privacy.ledger.publication import record_entries
from privacy.models import DataSubjectRequest, LedgerEntry
from privacy.models.request_choices import Kind as RequestKind
from privacy.models.request_choices import State

LastRectifications: TypeAlias = dict[bytes, tuple[int, bytes | None]]
"""Position of the last rectification and digest of its request, by subject."""


def record_rectification(request: DataSubjectRequest) -> None:
    """Record in both copies of the ledger that the request is answered. Call this before the answer, outside a transaction.

    Raise as ``record_entries``. A request of another kind, of a person who is no user, or that is not approved is not recorded.
    """
    if request.kind == RequestKind.RECTIFICATION and request.state == State.APPROVED and request.user_id is not None:
        entry = NewEntry(Kind.RECTIFY, request.user_id, plan_digest=_digest(request.pk))
        subjects = subject_keys().subjects(request.user_id)
        recorded = LedgerEntry.objects.filter(subject__in=subjects, kind=Kind.RECTIFY, plan_digest=entry.plan_digest)
        record_entries(lambda: [] if recorded.exists() else [entry])


def note_rectification(last: LastRectifications, entry: Entry) -> None:
    """Note the entry if it is a rectification. Entries come in order."""
    if entry.kind is Kind.RECTIFY:
        last[entry.subject] = (entry.position, entry.plan_digest)


def lost_rectifications(last: LastRectifications, user_ids: Iterable[UUID], keys: SubjectKeys) -> tuple[UUID, ...]:
    """Return those of the users whose last rectification is of a request that this database does not have as answered."""
    if not last:
        return ()
    answered = DataSubjectRequest.objects.filter(kind=RequestKind.RECTIFICATION, state=State.ANSWERED).values_list("pk", flat=True)
    known = {_digest(request_id) for request_id in answered.iterator()}
    return tuple(user_id for user_id in user_ids if _last_of(user_id, last, keys) not in known | {None})


def _last_of(user_id: UUID, last: LastRectifications, keys: SubjectKeys) -> bytes | None:
    found = [last[subject] for subject in keys.subjects(user_id) if subject in last]
    return max(found)[1] if found else None


def _digest(request_id: UUID) -> bytes:
    return sha256(request_id.bytes).digest()
