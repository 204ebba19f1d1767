"""Decrypt, decompress and verify a file of a backup on its way out."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import BinaryIO

import pyrage

from backups.streams.age_files import AgeReader, AgeWriter, original_errors
from backups.streams.keys import Identity
from backups.streams.stored_file import CHUNK_BYTES, Measure, StoredFile, stored_file
from backups.streams.writing import write_all
from backups.streams.zstandard import ZstdError, decompressor
from findme.core.errors import UserFacingError

AGE = b"age-encryption.org/"
"""The first bytes of a file that age encrypted."""
LARGEST_HEADER = 1024 * 1024
"""Bytes of the largest header of age that is read, since age keeps all of it in memory. A recipient takes about 100 bytes."""
NO_KEY = "No matching keys found"
"""What age says if no identity opens the file."""


def load(source: BinaryIO, sink: BinaryIO, identities: Sequence[Identity], expected: StoredFile | None, *, name: str) -> StoredFile:
    """Write the content of a stored file to the sink: decrypted, if it is encrypted, and decompressed. Return what was read.

    The source must have exactly one file, as ``store`` writes it. ``expected`` is the file's entry in the manifest. Its sizes are limits: no more is
    read or written. Without it, no size is limited, and what is missing or changed is found by the checksums of zstd and age only.

    Raises UserFacingError, which names the file by ``name``, for a damaged file and for missing or wrong keys. The sink then holds content that is
    not verified, so its owner must not use it. An exception of the source or the sink is raised as it is.
    """
    loading = _Loading(source, sink, expected, name)
    first = loading.read()
    while len(first) < len(AGE) and (more := loading.read()):
        first += more
    if first.startswith(AGE):
        loading.decrypt(first, identities)
    else:
        for piece in loading.pieces(first):
            loading.decompress(piece)
    return loading.finish()


class _Loading:
    def __init__(self, source: BinaryIO, sink: BinaryIO, expected: StoredFile | None, name: str) -> None:
        self.source = source
        self.sink = sink
        self.expected = expected
        self.name = name
        self.file = Measure()
        self.plain = Measure()
        self.frame = decompressor()
        self.is_decrypted = False

    def read(self) -> bytes:
        chunk = self.source.read(CHUNK_BYTES)
        self.file.add(chunk)
        if self.expected is not None and self.file.size > self.expected.size:
            raise self.damaged("it is longer than the manifest says")
        return chunk

    def pieces(self, first: bytes) -> Generator[bytes, None, None]:
        piece = first
        while piece:
            yield piece
            piece = self.read()

    def encrypted_pieces(self, first: bytes) -> Generator[bytes, None, None]:
        for piece in self.pieces(first):
            if self.file.size > LARGEST_HEADER + len(piece) and not self.is_decrypted:
                raise self.damaged("its header has no end")
            yield piece

    def decrypt(self, first: bytes, identities: Sequence[Identity]) -> None:
        if not identities:
            raise UserFacingError(f"{self.name!r} is encrypted. Name the file with the key of one of its recipients with --identity.")
        with closing(self.encrypted_pieces(first)) as pieces:
            reader, writer = AgeReader(pieces), AgeWriter(self.decompress)
            try:
                with original_errors(reader, writer):
                    pyrage.decrypt_io(reader, writer, [identity.key for identity in identities])
            except (pyrage.DecryptError, OSError) as error:
                if error is reader.error or error is writer.error:
                    raise
                if NO_KEY in str(error):
                    raise UserFacingError(
                        f"No key of the identity file opens {self.name!r}. Name the key of one of its recipients with --identity."
                    ) from None
                raise self.damaged("it cannot be decrypted") from None

    def decompress(self, data: bytes) -> None:
        self.is_decrypted = True
        if self.frame.eof:
            raise self.damaged("it continues after its end")
        while True:
            try:
                content = self.frame.decompress(data, max_length=CHUNK_BYTES)
            except ZstdError:
                raise self.damaged("it cannot be decompressed") from None
            if self.frame.unused_data:
                raise self.damaged("it continues after its end")
            self.accept(content)
            if self.frame.eof or self.frame.needs_input:
                return
            data = b""

    def accept(self, content: bytes) -> None:
        self.plain.add(content)
        if self.expected is not None and self.plain.size > self.expected.plain_size:
            raise self.damaged("its content is longer than the manifest says")
        write_all(self.sink, content)

    def finish(self) -> StoredFile:
        found = stored_file(self.file, self.plain)
        if not self.frame.eof:
            raise self.damaged("its end is missing")
        if self.expected is not None and found != self.expected:
            raise self.damaged("it is not the file of the manifest")
        return found

    def damaged(self, reason: str) -> UserFacingError:
        return UserFacingError(f"{self.name!r} is damaged: {reason}. Use another backup, or another copy of this one.")
