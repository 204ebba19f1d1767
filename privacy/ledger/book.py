"""The ledger in PostgreSQL. Triggers number and chain the entries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection

from privacy.ledger.checkpoint import BEGINNING, Checkpoint, checkpoint_of
from privacy.ledger.entry import FIRST_PREVIOUS, Entry, Kind, LedgerBroken
from privacy.ledger.keys import SubjectKeys, subject_keys
from privacy.models import LedgerCheckpoint, LedgerEntry

POLICY_VERSION = 1
"""Version of the rules of privacy actions. Increase it with each change of what an erasure or an anonymization does."""
COLUMNS = ("position", "recorded_at", "kind", "subject", "key_id", "plan_digest", "policy_version", "counts", "previous", "digest")
INSERT = """
    INSERT INTO erasure_ledger (kind, subject, key_id, plan_digest, policy_version, counts)
    SELECT kind, subject, %s, plan, %s, counts::jsonb
    FROM unnest(%s::smallint[], %s::bytea[], %s::bytea[], %s::text[]) WITH ORDINALITY AS given(kind, subject, plan, counts, number)
    ORDER BY number
    RETURNING position
"""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to record. ``counts`` has names of ``COUNTED``."""

    kind: Kind
    user_id: UUID
    counts: Mapping[str, int] = field(default_factory=dict)
    plan_digest: bytes | None = None


def insert(entries: Sequence[NewEntry], keys: SubjectKeys) -> list[int]:
    """Add the entries in the caller's transaction, and return their positions. Until it ends, no other transaction adds one."""
    if not entries:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            INSERT,
            [
                keys.current,
                POLICY_VERSION,
                [int(entry.kind) for entry in entries],
                [keys.subject(entry.user_id) for entry in entries],
                [entry.plan_digest for entry in entries],
                [json.dumps(dict(entry.counts)) for entry in entries],
            ],
        )
        return [position for (position,) in cursor.fetchall()]


def copy_in(entries: Sequence[Entry]) -> None:
    """Add entries of the ledger outside. A trigger rejects an entry that does not follow the last one."""
    LedgerEntry.objects.bulk_create(
        [
            LedgerEntry(
                position=entry.position,
                recorded_at=entry.recorded_at,
                kind=entry.kind,
                subject=entry.subject,
                key_id=entry.key_id,
                plan_digest=entry.plan_digest,
                policy_version=entry.policy_version,
                counts=dict(entry.counts),
                previous=entry.previous,
                digest=entry.digest,
            )
            for entry in entries
        ]
    )


def read_entries(*, after: int = 0, up_to: int | None = None) -> Iterator[Entry]:
    """Yield the entries after the position ``after``, in order, at most up to the position ``up_to``."""
    rows = LedgerEntry.objects.filter(position__gt=after).order_by("position")
    if up_to is not None:
        rows = rows.filter(position__lte=up_to)
    return (_entry(row) for row in rows.values_list(*COLUMNS).iterator(chunk_size=1000))


def last_position() -> int:
    """Return the position of the last entry, or of the last checkpoint if no entry follows it."""
    last = LedgerEntry.objects.order_by("-position").values_list("position", flat=True).first() or 0
    return max(last, last_checkpoint().position)


def digest_at(position: int) -> bytes | None:
    """Return the digest of an entry as PostgreSQL has stored it, also of an entry that only a checkpoint names. None if it is unknown.

    For position 0 it is the digest before the first entry.
    """
    if not position:
        return FIRST_PREVIOUS
    for rows in (LedgerEntry.objects.filter(pk=position), LedgerCheckpoint.objects.filter(pk=position)):
        if (digest := rows.values_list("digest", flat=True).first()) is not None:
            return bytes(digest)
    return None


def last_checkpoint() -> Checkpoint:
    """Return the last checkpoint in PostgreSQL, without a check of its signature, or BEGINNING."""
    row = LedgerCheckpoint.objects.order_by("-position").first()
    return BEGINNING if row is None else checkpoint_of(row)


def checkpoints() -> list[Checkpoint]:
    """Return all checkpoints in PostgreSQL, in order, without a check of their signatures."""
    return [checkpoint_of(row) for row in LedgerCheckpoint.objects.order_by("position")]


def entries_of(user_id: UUID) -> list[Entry]:
    """Return the entries about the user. Raise UserFacingError if the keys cannot be used and there are entries."""
    if not LedgerEntry.objects.exists():
        return []
    rows = LedgerEntry.objects.filter(subject__in=subject_keys().subjects(user_id)).order_by("position")
    return [_entry(row) for row in rows.values_list(*COLUMNS)]


def _entry(row: tuple[Any, ...]) -> Entry:
    """Return the entry of the columns ``COLUMNS``. Raise LedgerBroken if the digest is not that of the other columns: the row was edited."""
    position, recorded_at, kind, subject, key_id, plan_digest, policy_version, counts, previous, digest = row
    entry = Entry(
        position=position,
        recorded_at=recorded_at,
        kind=Kind(kind),
        subject=bytes(subject),
        key_id=key_id,
        plan_digest=None if plan_digest is None else bytes(plan_digest),
        policy_version=policy_version,
        counts=counts,
        previous=bytes(previous),
    )
    if entry.digest != bytes(digest):
        raise LedgerBroken(f"Entry {position} of the ledger in PostgreSQL was edited. Run manage.py verify_ledger.")
    return entry
