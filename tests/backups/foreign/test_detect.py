"""A file is recognized by its content, and what cannot be restored is refused in one line with what to do."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.foreign.archive import read_header
from backups.foreign.detect import Kind, detect
from backups.foreign.restore import require_dump
from findme.core.errors import UserFacingError
from tests.backups.foreign.dumping import pg_dump, server_major
from tests.support.database import Database


def tar(*names: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return content.getvalue()


SNAPSHOT = tar("0/segments/x", "./config.json")


@pytest.mark.parametrize("compression", ["0", "gzip:1"])
def test_detect__custom_dump__says_its_version(compression: str, empty: Database, tmp_path: Path) -> None:
    path = pg_dump(tmp_path / "a.sql", "--format=custom", f"--compress={compression}")
    found = detect(path)
    assert (found.kind, found.is_gzip, found.dump_major) == (Kind.CUSTOM, False, server_major())


@pytest.mark.parametrize("is_gzip", [False, True])
@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"--\n-- PostgreSQL database dump\n", Kind.PLAIN), (b"\xef\xbb\xbfSELECT 1", Kind.PLAIN), (SNAPSHOT, Kind.SNAPSHOT)],
    ids=["plain", "with a byte order mark", "snapshot"],
)
def test_detect__by_content(content: bytes, kind: Kind, is_gzip: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.dump"
    path.write_bytes(gzip.compress(content) if is_gzip else content)
    found = detect(path)
    assert (found.kind, found.is_gzip) == (kind, is_gzip)


IDENTITY = pyrage.x25519.Identity.generate()
REFUSED = {
    "empty": (b"", "is empty: nothing was restored"),
    "age": (pyrage.encrypt(b"x", [IDENTITY.to_public()]), "is encrypted by age: .*age --decrypt"),
    "tar": (tar("toc.dat", "restore.sql"), r"is a tar file \(pg_dump --format=tar\): .*pg_restore --file=dump.sql"),
    "another tar": (tar("a", "b"), "is a tar file, but no snapshot of Qdrant"),
    "broken tar": (SNAPSHOT[:600], "is a tar file, but no snapshot of Qdrant"),
    "zstd": (b"\x28\xb5\x2f\xfd1234", "is compressed by zstd: .*zstd --decompress"),
    "zip": (b"PK\x03\x041234", "is compressed by zip"),
    "utf-16": ("--\n".encode("utf-16"), "is in UTF-16"),
    "binary": (b"\x7fELF\x00\x00", "is no dump of PostgreSQL"),
    "damaged dump": (b"PGDMP\x01\x10", "is damaged: the header"),
    "damaged gzip": (gzip.compress(bytes(1000))[:20], "is damaged: it cannot be decompressed"),
    "dump as a folder in one file": (
        b"PGDMP\x01\x10\x00\x04\x08\x05\x00" + bytes(35) + 3 * b"\x00\x02\x00\x00\x0018",
        "in an unknown format",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_detect__refused(name: str, tmp_path: Path) -> None:
    content, message = REFUSED[name]
    path = tmp_path / "a.sql"
    path.write_bytes(content)
    with pytest.raises(UserFacingError, match=message) as raised:
        detect(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_detect__a_folder_of_pg_dump__is_refused(tmp_path: Path) -> None:
    (tmp_path / "toc.dat").write_bytes(b"PGDMP")
    with pytest.raises(UserFacingError, match=r"pg_dump --format=directory.*pg_restore --file=dump\.sql"):
        detect(tmp_path)


def test_detect__another_folder__is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserFacingError, match="is a folder without a backup"):
        detect(tmp_path)


def test_detect__missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserFacingError, match=r"cannot be read .*No such file"):
        detect(tmp_path / "missing")


def test_detect__pipe__does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserFacingError, match="is no ordinary file"):
        detect(tmp_path / "pipe")


def test_require_dump__snapshot__names_the_command(tmp_path: Path) -> None:
    path = tmp_path / "a.snapshot"
    path.write_bytes(SNAPSHOT)
    with pytest.raises(UserFacingError, match=r"is a snapshot of Qdrant: nothing was restored\. Run manage\.py qdrant_snapshot restore "):
        require_dump(path)


@given(st.binary(max_size=100))
def test_read_header__any_bytes(rest: bytes) -> None:
    with suppress(UserFacingError):
        assert read_header(b"PGDMP" + rest, "a").dump_major >= 0
