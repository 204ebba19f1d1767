"""The encrypted file: read back by its token only, and refused if any byte was changed."""

from __future__ import annotations

import hashlib
import io
import os
from uuid import uuid4
from zipfile import ZipFile

import pytest

from privacy.kept_exports.encryption import CHUNK_BYTES, TAG_BYTES, EncryptedWriter, FileDamaged, decrypted
from privacy.kept_exports.links import new_token

TOKEN, ID = new_token(), uuid4()
PIECE = CHUNK_BYTES + TAG_BYTES


def encrypted(content: bytes, step: int = 50_000) -> bytes:
    file = io.BytesIO()
    with EncryptedWriter(file, TOKEN, ID) as writer:
        for start in range(0, len(content), step):
            writer.write(content[start : start + step])
    assert (writer.size, writer.sha256) == (len(content), hashlib.sha256(content).digest())
    return file.getvalue()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 200_001])
def test_file__is_read_back(size: int) -> None:
    content = os.urandom(size)
    file = encrypted(content)
    assert b"".join(decrypted(io.BytesIO(file), TOKEN, ID)) == content
    assert content[:64] not in file or size < 8


def test_file__of_a_zip__is_read_back() -> None:
    file = io.BytesIO()
    with EncryptedWriter(file, TOKEN, ID) as writer, ZipFile(writer, "w") as archive:  # type: ignore[call-overload]  # it is only written
        archive.writestr("a.txt", "x" * 100_000)
    file.seek(0)
    assert ZipFile(io.BytesIO(b"".join(decrypted(file, TOKEN, ID)))).read("a.txt") == b"x" * 100_000


def refused(file: bytes, token: str = TOKEN, export_id: object = ID) -> bool:
    with pytest.raises(FileDamaged, match=r"^The file of the export .+ was changed, or its end is missing\.$"):
        list(decrypted(io.BytesIO(file), token, export_id))  # type: ignore[arg-type]
    return True


def test_file__changed__is_refused() -> None:
    file = encrypted(os.urandom(3 * CHUNK_BYTES))
    assert refused(file, token=new_token())
    assert refused(file, export_id=uuid4())
    for cut in (0, 1, PIECE, len(file) - 1, len(file) - PIECE):
        assert refused(file[:cut])
    assert refused(file + b"x")
    assert refused(file[PIECE : 2 * PIECE] + file[:PIECE] + file[2 * PIECE :])
    assert refused(file[:PIECE] + file)
    for position in (0, PIECE, len(file) - 1):
        assert refused(file[:position] + bytes([file[position] ^ 1]) + file[position + 1 :])
