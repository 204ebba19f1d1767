"""Entries of the ledger that are older than the test."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from django.db import transaction

from privacy.ledger.book import copy_in, digest_at, last_position
from privacy.ledger.entry import Entry, Kind
from privacy.ledger.keys import subject_keys
from privacy.ledger.publication import publish_pending

YEARS = 4 * 365
"""An age after the retention of three years."""


def add_entries(count: int, days: float, users: Sequence[UUID] | None = None) -> list[Entry]:
    """Add entries that were recorded ``days`` ago, as one object of the ledger outside."""
    entries: list[Entry] = []
    position, previous = last_position(), digest_at(last_position()) or b""
    keys = subject_keys()
    for user in users or [uuid4() for _ in range(count)]:
        recorded_at = datetime.now(UTC) - timedelta(days=days)
        entry = Entry(position + 1, recorded_at, Kind.ERASE, keys.subject(user), keys.current, None, 1, {}, previous)
        entries.append(entry)
        position, previous = entry.position, entry.digest
    with transaction.atomic():
        copy_in(entries)
    publish_pending()
    return entries
