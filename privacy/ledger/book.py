"""The ledger in PostgreSQL. Triggers number and chain the entries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from findme.core.postgresql.arrays import bytea_array, integer_array
from privacy.ledger.checkpoint import BEGINNING, Checkpoint, checkpoint_of
from privacy.ledger.entry import FIRST_PREVIOUS, Entry, Kind, LedgerBroken
from privacy.ledger.keys import SubjectKeys, subject_keys
from privacy.models import LedgerCheckpoint, LedgerEntry

POLICY_VERSION = 1
"""Version of the rules of privacy actions. Increase it with each change of what an erasure or an anonymization does."""
COLUMNS = ("position", "recorded_at", "kind", "subject", "key_id", "plan_digest", "policy_version", "counts", "previous", "digest")
LOCK = 7_021_339_562_118_407
"""Key of the advisory lock of the transaction that adds entries. A trigger takes it too."""
LAST = """
    SELECT clock_timestamp(), last.position, last.digest FROM (SELECT) AS one LEFT JOIN (
        (SELECT position, digest FROM erasure_ledger ORDER BY position DESC LIMIT 1)
        UNION ALL (SELECT position, digest FROM ledger_checkpoints ORDER BY position DESC LIMIT 1)
    ) AS last ON true ORDER BY last.position DESC LIMIT 1
"""
INSERT = """
    INSERT INTO erasure_ledger (position, recorded_at, kind, subject, key_id, plan_digest, policy_version, counts, previous, digest)
    SELECT position, %s, kind, subject, %s, plan, %s, counts::jsonb, previous, digest
    FROM unnest(%s::bigint[], %s::smallint[], %s::bytea[], %s::bytea[], %s::text[], %s::bytea[], %s::bytea[])
        AS given(position, kind, subject, plan, counts, previous, digest)
"""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to record. ``counts`` has names of ``COUNTED``."""

    kind: Kind
    user_id: UUID
    counts: Mapping[str, int] = field(default_factory=dict)
    plan_digest: bytes | None = None


def insert(new: Sequence[NewEntry], keys: SubjectKeys) -> list[Entry]:
    """Add the entries in the caller's transaction, and return them. Until it ends, no other transaction adds one.

    The numbers and the chain are computed here, because a trigger takes several times as long. A trigger checks them.
    """
    if not new:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        cursor.execute(LAST)
        recorded_at, last, digest = cursor.fetchone()
        entries, digest = _continued(new, keys, recorded_at, last or 0, FIRST_PREVIOUS if digest is None else bytes(digest))
        cursor.execute(
            INSERT,
            [
                recorded_at,
                keys.current,
                POLICY_VERSION,
                integer_array(entry.position for entry in entries),
                integer_array(int(entry.kind) for entry in entries),
                bytea_array(entry.subject for entry in entries),
                [entry.plan_digest for entry in entries],
                [json.dumps(entry.counts) if entry.counts else "{}" for entry in entries],
                bytea_array(entry.previous for entry in entries),
                bytea_array([*(entry.previous for entry in entries[1:]), digest]),
            ],
        )
    return entries


def _continued(new: Sequence[NewEntry], keys: SubjectKeys, recorded_at: datetime, last: int, digest: bytes) -> tuple[list[Entry], bytes]:
    """Return the entries that follow the entry ``last``, which has this digest, and the digest of the last one."""
    entries: list[Entry] = []
    for position, one in enumerate(new, last + 1):
        entries.append(
            Entry(
                position=position,
                recorded_at=recorded_at,
                kind=one.kind,
                subject=keys.subject(one.user_id),
                key_id=keys.current,
                plan_digest=one.plan_digest,
                policy_version=POLICY_VERSION,
                counts=dict(one.counts),
                previous=digest,
            )
        )
        digest = entries[-1].digest
    return entries, digest


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
