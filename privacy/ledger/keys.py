"""The keys that turn users' ids into the subjects of the ledger. They are in a file outside the database, and can be rotated.

Without the keys, an entry cannot be assigned to a user, not even with a list of all ids. The file is JSON: ``{"current": 2, "keys": {"1": "...",
"2": "..."}}``, each key 32 random bytes in base64. New entries use the current key. The others are needed as long as an entry has their number.
"""

from __future__ import annotations

import hmac
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from django.conf import settings

from findme.core.errors import UserFacingError
from findme.core.files import atomic_write
from privacy.ledger.key_files import create_in_development, read_key_file

KEY_SIZE = 32
LARGEST_ID = 32767


@dataclass(frozen=True, slots=True)
class SubjectKeys:
    """The keys by number. ``current`` is the number of the key for new entries."""

    current: int
    keys: Mapping[int, bytes]

    def subject(self, user_id: UUID, key_id: int | None = None) -> bytes:
        """Return the HMAC-SHA256 of the id (16 bytes) under the key ``key_id``, by default the current one.

        Raise UserFacingError for an unknown number.
        """
        return hmac.digest(self.key(self.current if key_id is None else key_id), user_id.bytes, sha256)

    def subjects(self, user_id: UUID) -> list[bytes]:
        """Return the HMAC of the id under every key."""
        return [hmac.digest(key, user_id.bytes, sha256) for key in self.keys.values()]

    def key(self, key_id: int) -> bytes:
        if key_id not in self.keys:
            raise UserFacingError(
                f"ERASURE_LEDGER_KEYS has no key {key_id}, which the ledger uses: nothing was changed. Add the key to the file, from its backup."
            )
        return self.keys[key_id]


def subject_keys() -> SubjectKeys:
    """Return the keys of the file that ``ERASURE_LEDGER_KEYS`` names. Raise UserFacingError if it cannot be used."""
    path = Path(settings.ERASURE_LEDGER_KEYS) if settings.ERASURE_LEDGER_KEYS else None
    create_in_development(path, create_keys)
    return parse_keys(read_key_file("ERASURE_LEDGER_KEYS", path, "manage.py ledger_keys"), str(path))


def parse_keys(text: bytes, path: str) -> SubjectKeys:
    """Return the keys of the text of a file. Raise UserFacingError."""
    try:
        found = json.loads(text)
        keys = SubjectKeys(found["current"], {int(number): b64decode(key, validate=True) for number, key in found["keys"].items()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        keys = SubjectKeys(0, {})
    if (
        type(keys.current) is not int
        or keys.current not in keys.keys
        or any(not 0 < number <= LARGEST_ID or len(key) != KEY_SIZE for number, key in keys.keys.items())
    ):
        raise UserFacingError(f"{path!r} is no file of ledger keys. Restore it from its backup: no new key can find the old entries.")
    return keys


def create_keys(path: Path) -> SubjectKeys:
    """Write a new file with one key, mode 0600. Raise UserFacingError if the file exists."""
    keys = SubjectKeys(1, {1: secrets.token_bytes(KEY_SIZE)})
    _write(keys, path, force=False)
    return keys


def rotate_keys(path: Path, keys: SubjectKeys) -> SubjectKeys:
    """Add a new current key to the file. The old keys stay."""
    number = max(keys.keys) + 1
    rotated = SubjectKeys(number, {**keys.keys, number: secrets.token_bytes(KEY_SIZE)})
    _write(rotated, path, force=True)
    return rotated


def _write(keys: SubjectKeys, path: Path, *, force: bool) -> None:
    with atomic_write(path, force=force) as file:
        encoded = {str(number): b64encode(key).decode() for number, key in keys.keys.items()}
        file.write(json.dumps({"current": keys.current, "keys": encoded}, indent=2).encode() + b"\n")
