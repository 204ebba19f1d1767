"""Compress, encrypt and hash a stream on its way into a backup."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import BinaryIO

import pyrage

from backups.streams.age_files import AgeReader, AgeWriter, original_errors
from backups.streams.keys import Recipient
from backups.streams.stored_file import CHUNK_BYTES, Measure, StoredFile, stored_file
from backups.streams.writing import write_all
from backups.streams.zstandard import compressor


def store(source: BinaryIO, sink: BinaryIO, recipients: Sequence[Recipient]) -> StoredFile:
    """Write the whole source to the sink: compressed, and encrypted if there are recipients. Return what was written.

    Memory is constant, and nothing else is written. An exception of the source or the sink is raised as it is, and the sink then holds a part. The
    caller closes both.
    """
    plain, file = Measure(), Measure()

    def accept(data: bytes) -> None:
        write_all(sink, data)
        file.add(data)

    with closing(_compressed(source, plain)) as pieces:
        if recipients:
            reader, writer = AgeReader(pieces), AgeWriter(accept)
            with original_errors(reader, writer):
                pyrage.encrypt_io(reader, writer, [recipient.key for recipient in recipients])
        else:
            for piece in pieces:
                accept(piece)
    return stored_file(file, plain)


def _compressed(source: BinaryIO, plain: Measure) -> Generator[bytes, None, None]:
    frame = compressor()
    while (chunk := source.read(CHUNK_BYTES)) != b"":
        plain.add(chunk)
        if piece := frame.compress(chunk):
            yield piece
    yield frame.flush()
