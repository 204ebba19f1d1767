"""Signed checkpoints: where the ledger begins after the entries before were deleted.

A checkpoint is a compact JWS. Its payload has other fields than the signature of an object, so that the one cannot be passed off as the other.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from findme.core.errors import UserFacingError
from privacy.ledger.entry import FIRST_PREVIOUS, TIME, LedgerBroken
from privacy.ledger.signing import ALGORITHM, sign, verified
from privacy.models import LedgerCheckpoint

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

    from privacy.ledger.signing import VerifyingKeys

FIELDS = frozenset({"checkpoint", "created_at", "digest", "recorded_at", "retention_days"})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The last deleted entry: its position, its digest and its time. ``token`` is the JWS of all fields."""

    position: int
    digest: bytes
    recorded_at: datetime
    retention_days: int
    created_at: datetime
    token: str = ""

    def canonical(self) -> bytes:
        """Return the canonical JSON that is signed."""
        import rfc8785  # imported late, because every command imports this module

        return rfc8785.dumps(
            {
                "checkpoint": self.position,
                "created_at": self.created_at.astimezone(UTC).strftime(TIME),
                "digest": self.digest.hex(),
                "recorded_at": self.recorded_at.astimezone(UTC).strftime(TIME),
                "retention_days": self.retention_days,
            }
        )


BEGINNING = Checkpoint(0, FIRST_PREVIOUS, datetime.min.replace(tzinfo=UTC), 0, datetime.min.replace(tzinfo=UTC))
"""The position before the first entry of a ledger without a checkpoint."""


def signed(checkpoint: Checkpoint, key: OKPKey) -> Checkpoint:
    """Return the checkpoint with its signature."""
    return replace(checkpoint, token=sign(checkpoint.canonical(), key))


def parse_checkpoint(token: str, position: int) -> Checkpoint:
    """Return the checkpoint of a JWS, without a check of its signature. Raise LedgerBroken if it is none, or that of another position."""
    try:
        checkpoint = _parsed(_decoded(token.split(".")[1]))
    except (ValueError, IndexError, TypeError, AttributeError, RecursionError):
        checkpoint = None
    if checkpoint is None or checkpoint.position != position:
        raise LedgerBroken(
            f"The checkpoint of the ledger at entry {position} was edited or moved. Restore it from a copy, then run manage.py verify_ledger."
        )
    return replace(checkpoint, token=token)


def _parsed(payload: bytes) -> Checkpoint | None:
    """Return the checkpoint of its canonical JSON, or None for another text. Raise ValueError, TypeError or AttributeError for a wrong field."""
    found = json.loads(payload)
    if not isinstance(found, dict) or found.keys() != FIELDS or type(found["checkpoint"]) is not int:
        return None
    checkpoint = Checkpoint(
        position=found["checkpoint"],
        digest=bytes.fromhex(found["digest"]),
        recorded_at=datetime.strptime(found["recorded_at"], TIME).replace(tzinfo=UTC),
        retention_days=found["retention_days"],
        created_at=datetime.strptime(found["created_at"], TIME).replace(tzinfo=UTC),
    )
    return checkpoint if checkpoint.canonical() == payload else None


def verify_checkpoint(checkpoint: Checkpoint, keys: VerifyingKeys) -> Checkpoint:
    """Return the checkpoint. Raise LedgerBroken if none of the keys signed it."""
    try:
        verified(checkpoint.token, keys)
    except UserFacingError as error:
        raise LedgerBroken(f"The signature of the checkpoint at entry {checkpoint.position} is wrong. {error}") from None
    return checkpoint


def row_of(checkpoint: Checkpoint) -> LedgerCheckpoint:
    header, _, signature = checkpoint.token.split(".")
    return LedgerCheckpoint(
        position=checkpoint.position,
        digest=checkpoint.digest,
        last_recorded_at=checkpoint.recorded_at,
        retention_days=checkpoint.retention_days,
        created_at=checkpoint.created_at,
        key=_decoded(json.loads(_decoded(header))["kid"]),
        signature=_decoded(signature),
    )


def checkpoint_of(row: LedgerCheckpoint) -> Checkpoint:
    """Return the checkpoint of a row. Its JWS is built from the columns, so a changed column makes the signature wrong."""
    checkpoint = Checkpoint(row.position, bytes(row.digest), row.last_recorded_at, row.retention_days, row.created_at)
    header = json.dumps({"alg": ALGORITHM, "kid": _encoded(bytes(row.key))}, separators=(",", ":")).encode()
    return replace(checkpoint, token=".".join(map(_encoded, (header, checkpoint.canonical(), bytes(row.signature)))))


def _encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
