"""An entry of the ledger, its canonical JSON (RFC 8785) and its place in the chain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeAlias

from findme.core.errors import UserFacingError
from privacy.models import LedgerEntry

Kind: TypeAlias = LedgerEntry.Kind

FIRST_PREVIOUS = bytes(32)
"""``previous`` of the first entry."""
FIELDS = frozenset({"counts", "key", "kind", "plan", "policy", "position", "previous", "recorded_at", "subject"})
NUMBERS = ("key", "kind", "policy", "position")
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
TOO_LARGE = 2**53
"""First number that JSON of RFC 8785 does not have."""
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
"""The form of RFC 8785 for whole numbers, and for names of ASCII letters. The library rfc8785 takes ten times as long."""


class LedgerBroken(UserFacingError):
    """The ledger was cut off, edited, or continued by another database."""


@dataclass(frozen=True)  # without slots, because cached_property needs __dict__
class Entry:
    """One entry (``privacy.models.LedgerEntry``). ``previous`` and ``digest`` have 32 bytes, and ``recorded_at`` is in UTC."""

    position: int
    recorded_at: datetime
    kind: Kind
    subject: bytes
    key_id: int
    plan_digest: bytes | None
    policy_version: int
    counts: Mapping[str, int]
    previous: bytes

    def canonical(self) -> bytes:
        """Return the canonical JSON. A trigger computes the same text for each row. Raise ValueError for a number of 2**53 and above."""
        return self._canonical

    @cached_property
    def _canonical(self) -> bytes:
        # It takes half of the time to read an entry, and each entry needs it for the digest, for the chain and for the object outside.
        if max((self.position, *self.counts.values())) >= TOO_LARGE:
            raise ValueError("a number is too large")
        counts = CANONICAL.encode(dict(self.counts)) if self.counts else "{}"
        plan = "null" if self.plan_digest is None else f'"{self.plan_digest.hex()}"'
        return (
            f'{{"counts":{counts},"key":{self.key_id},"kind":{int(self.kind)},"plan":{plan},"policy":{self.policy_version}'
            f',"position":{self.position},"previous":"{self.previous.hex()}","recorded_at":"{self._time}","subject":"{self.subject.hex()}"}}'
        ).encode()

    def fields(self) -> dict[str, Any]:
        """Return the names and values of the JSON."""
        return {
            "counts": dict(self.counts),
            "key": self.key_id,
            "kind": int(self.kind),
            "plan": None if self.plan_digest is None else self.plan_digest.hex(),
            "policy": self.policy_version,
            "position": self.position,
            "previous": self.previous.hex(),
            "recorded_at": self._time,
            "subject": self.subject.hex(),
        }

    @property
    def _time(self) -> str:
        return f"{self.recorded_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

    @property
    def digest(self) -> bytes:
        return sha256(self.canonical()).digest()


def parse_entry(line: bytes) -> Entry:
    """Return the entry of one line of canonical JSON. Raise ValueError for any other line."""
    found: Any = json.loads(line)
    if not isinstance(found, dict) or found.keys() != FIELDS or not isinstance(found["counts"], dict):
        raise ValueError("the line has other fields")
    if any(type(number) is not int for number in (*(found[name] for name in NUMBERS), *found["counts"].values())):
        raise ValueError("a number has another type")
    try:
        entry = Entry(
            position=found["position"],
            recorded_at=datetime.fromisoformat(found["recorded_at"]),
            kind=Kind(found["kind"]),
            subject=bytes.fromhex(found["subject"]),
            key_id=found["key"],
            plan_digest=None if found["plan"] is None else bytes.fromhex(found["plan"]),
            policy_version=found["policy"],
            counts=found["counts"],
            previous=bytes.fromhex(found["previous"]),
        )
        if entry.canonical() != line:
            raise ValueError("the line is not canonical")
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError("a field has another type") from error
    return entry


def chained(entries: Iterable[Entry], after: int = 0, previous: bytes = FIRST_PREVIOUS) -> Iterator[Entry]:
    """Yield the entries while they follow each other. Raise LedgerBroken at the first one that does not.

    ``after`` and ``previous`` are the position and the digest of the entry before the first one.
    """
    for entry in entries:
        if entry.position != after + 1 or entry.previous != previous:
            raise LedgerBroken(
                f"Entry {entry.position} of the ledger does not follow entry {after}. Restore the ledger from a copy, then run verify_ledger."
            )
        after, previous = entry.position, entry.digest
        yield entry
