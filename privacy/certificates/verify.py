"""Verify a certificate with the public key and a copy of the ledger, without the database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from findme.core.errors import UserFacingError
from privacy.certificates.contents import CERTIFICATE, VERSION
from privacy.ledger.outside import FolderLedger
from privacy.ledger.signing import verified
from privacy.ledger.verify import entries_outside, start_outside

if TYPE_CHECKING:
    from privacy.ledger.signing import VerifyingKeys


def verify_certificate(token: str, keys: VerifyingKeys, ledger: Path) -> dict[str, Any]:
    """Return the contents of the certificate.

    Raise UserFacingError if none of the keys signed it, if it is no certificate, or if the ledger does not have its entries. Raise LedgerBroken if the
    ledger was cut off or edited.
    """
    contents = _contents(token, keys)
    if not ledger.is_dir():
        raise UserFacingError(
            f"There is no folder {str(ledger)!r}: the certificate was not verified. Pass the folder of the ledger's files."
        )
    start, found = _digests(ledger, keys, {contents["entry"]["position"], contents["head"]["position"]})
    for name in ("entry", "head"):
        position, digest = contents[name]["position"], contents[name]["digest"]
        if position not in found and position < start:
            raise UserFacingError(
                f"Entry {position} of the ledger in {str(ledger)!r} was deleted after its retention: the certificate was not verified."
                " Pass an older copy of the ledger."
            )
        if position not in found:
            raise UserFacingError(
                f"The ledger in {str(ledger)!r} has no entry {position}, which the certificate names: it was cut off. Get a complete copy."
            )
        if found[position] != digest:
            raise UserFacingError(
                f"Entry {position} of the ledger in {str(ledger)!r} is another one than in the certificate. Get the ledger of this database."
            )
    return contents


def _contents(token: str, keys: VerifyingKeys) -> dict[str, Any]:
    contents: Any = json.loads(verified(token.strip(), keys))
    # The same key signs the heads of the ledger.
    if not isinstance(contents, dict) or contents.get("certificate") != CERTIFICATE or contents.get("version") != VERSION:
        raise UserFacingError(
            "The text is signed, and it is no certificate of this version. Pass the output of manage.py erasure_certificate."
        )
    return contents


def _digests(ledger: Path, keys: VerifyingKeys, positions: set[int]) -> tuple[int, dict[int, str]]:
    """Read the whole ledger, with its chain and all signatures. Return where it begins, and the digests at these positions."""
    outside = FolderLedger(ledger)
    start = start_outside(outside, keys)
    entries = {entry.position: entry.digest.hex() for entry in entries_outside(outside, keys) if entry.position in positions}
    return start.position, {start.position: start.digest.hex()} | entries
