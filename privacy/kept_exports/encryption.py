"""Encryption of one file by chunks: AES-256-GCM. A chunk that is changed, moved, left out or added ends the reading with an error.

The key is derived from the token of the link and the id of the export, and is used for one file only. So the number of a chunk is a nonce that never
comes twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK_BYTES = 64 * 1024
TAG_BYTES = 16
INFO = b"FindMe export, version 1"


class FileDamaged(Exception):
    """The file was changed or cut off, or belongs to another token."""


def _cipher(token: str, export_id: UUID) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, export_id.bytes, INFO).derive(token.encode()))


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


class EncryptedWriter:
    """A file object that encrypts what is written to it. ``size`` and ``sha256`` are those of the content before the encryption."""

    def __init__(self, file: BinaryIO, token: str, export_id: UUID) -> None:
        self._file, self._cipher, self._id = file, _cipher(token, export_id), export_id.bytes
        self._pending, self._number = bytearray(), 0
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> bytes:
        return self._digest.digest()

    def write(self, content: bytes | bytearray | memoryview) -> int:
        self._pending += content
        self._digest.update(content)
        self.size += len(content)
        while len(self._pending) > CHUNK_BYTES:  # the last chunk is marked, so one chunk waits
            self._encrypt(bytes(self._pending[:CHUNK_BYTES]), is_last=False)
            del self._pending[:CHUNK_BYTES]
        return len(content)

    def flush(self) -> None:
        """Do nothing: ``zipfile`` calls it, and a chunk is written when it is full."""

    def finish(self) -> None:
        """Write the last chunk. A file without it cannot be read."""
        self._encrypt(bytes(self._pending), is_last=True)
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.finish()

    def _encrypt(self, content: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, is_last=is_last), content, self._id))
        self._number += 1


def decrypted(file: BinaryIO, token: str, export_id: UUID) -> Iterator[bytes]:
    """Yield the content by chunks, and close the file. Raise FileDamaged."""
    cipher, number = _cipher(token, export_id), 0
    with file:
        chunk = file.read(CHUNK_BYTES + TAG_BYTES)
        while True:
            following = file.read(CHUNK_BYTES + TAG_BYTES)
            try:
                yield cipher.decrypt(_nonce(number, is_last=not following), chunk, export_id.bytes)
            except InvalidTag:
                raise FileDamaged(f"The file of the export {export_id} was changed, or its end is missing.") from None
            if not following:
                return
            chunk, number = following, number + 1
