"""The keys of age: a recipient encrypts a backup, and its identity decrypts it.

The machine that makes backups needs the recipient only. No error here has a secret key.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage

from findme.core.errors import UserFacingError

LARGEST_FILE = 1024 * 1024
"""Bytes of the largest identity file that is read. A key has 75."""
ENCRYPTED_FILE = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")


@dataclass(frozen=True, slots=True)
class Recipient:
    """A public key: ``age1...``."""

    text: str
    key: Any = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A secret key. Its text is not part of any representation."""

    key: Any = field(repr=False)


def parse_recipient(text: str) -> Recipient:
    """Return the recipient. Raise UserFacingError for anything but the public key of an identity."""
    text = text.strip()
    if "secret-key" in text.lower():
        raise UserFacingError(
            "A recipient is a secret key: nothing was changed. Name the public key (age1...), and create a new pair with age-keygen."
        )
    try:
        return Recipient(text, pyrage.x25519.Recipient.from_str(text))
    except pyrage.RecipientError:
        # Any other text can be a part of a secret.
        shown = repr(text) if text.startswith("age1") else "The recipient"
        raise UserFacingError(
            f"{shown} is not the public key of an age identity: nothing was changed. Name one (age1...), as age-keygen shows it."
        ) from None


def read_identities(path: Path) -> tuple[Identity, ...]:
    """Return the identities in a file of ``age-keygen``: a line each, empty lines, and comments that begin with ``#``.

    Raises UserFacingError if there is none, if a line is something else, and if other accounts can read the file. As with ssh, only files of this
    account are checked for that: a container has its secrets from another account.
    """
    content = _content(path)
    if content.startswith(ENCRYPTED_FILE):
        raise UserFacingError(
            f"The identity file {str(path)!r} is encrypted itself. Decrypt it with age --decrypt to a file that only you can read, and name that file."
        )
    identities = []
    for number, line in enumerate(content.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        try:
            identities.append(Identity(pyrage.x25519.Identity.from_str(line.decode())))
        except (pyrage.IdentityError, UnicodeDecodeError):
            raise UserFacingError(
                f"Line {number} of the identity file {str(path)!r} is no secret key of age (AGE-SECRET-KEY-1...). Name a file of age-keygen."
            ) from None
    if not identities:
        raise UserFacingError(f"The identity file {str(path)!r} has no key. Name a file of age-keygen.")
    return tuple(identities)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o077:
                raise UserFacingError(f"Other accounts can read the identity file {str(path)!r}. Run chmod 600 {path}.")
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserFacingError(
            f"The identity file {str(path)!r} cannot be read ({error.strerror or error}). Name another one with --identity."
        ) from error
    if len(content) > LARGEST_FILE:
        raise UserFacingError(f"The identity file {str(path)!r} is larger than {LARGEST_FILE:,} bytes. Name a file of age-keygen.")
    return content
