"""Reading .npz files."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from findme.core.errors import UserFacingError
from tests.vectorstore.ingest.inputs import file_error
from vectorstore.ingest.formats.npz import ROWS_AT_A_TIME, check_npz, read_npz
from vectorstore.ingest.rows import UNSET, Kind, Rejection, Row

ANNE = UUID("11111111-1111-4111-8111-111111111111")

refusal = partial(file_error, check_npz)


def save(path: Path, user_ids: NDArray[Any], vectors: NDArray[Any], *, deflated: bool = False, **others: Any) -> Path:
    file = path / "vectors.npz"
    (np.savez_compressed if deflated else np.savez)(file, user_ids=user_ids, vectors=vectors, **others)
    return file


def valid_arrays(count: int = 2) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.array([str(UUID(int=number)) for number in range(1, count + 1)]), np.ones((count, 512), np.float32)


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_read__rows__come_in_order(tmp_path: Path, dtype: str, *, deflated: bool) -> None:
    count = 2 * ROWS_AT_A_TIME + 3
    user_ids, _ = valid_arrays(count)
    vectors = np.arange(1, count + 1).repeat(512).reshape(count, 512).astype(dtype)
    path = save(tmp_path, user_ids, vectors, deflated=deflated)
    assert check_npz(path) == count
    rows = list(read_npz(path, "given"))
    assert [(row.file, row.line) for row in rows] == [("given", number) for number in range(1, count + 1)]
    for number, row in enumerate(rows, 1):
        assert isinstance(row, Row)
        assert row.content.user_id == UUID(int=number)
        assert row.content.vector is not UNSET and set(row.content.vector.tolist()) == {float(number)}
        assert {row.content.location, row.content.interests, row.content.video_features} == {UNSET}


@pytest.mark.parametrize(
    "user_ids",
    [
        np.array([str(ANNE)]),
        np.array([str(ANNE).encode()]),
        np.array([str(ANNE)], dtype=">U40"),
        np.frombuffer(ANNE.bytes, "V16"),
    ],
    ids=["U36", "S36", "U40", "V16"],
)
def test_read__ids_as_text_or_bytes__are_read(tmp_path: Path, user_ids: NDArray[Any]) -> None:
    (row,) = read_npz(save(tmp_path, user_ids, np.ones((1, 512))), "x")
    assert isinstance(row, Row) and row.content.user_id == ANNE


def test_read__bad_rows__are_rejected(tmp_path: Path) -> None:
    user_ids, vectors = valid_arrays(4)
    vectors[1, 4], vectors[2] = np.inf, 0
    user_ids[3] = "x"
    found = list(read_npz(save(tmp_path, user_ids, vectors), "x.npz"))
    assert isinstance(found[0], Row)
    rejections = [entry for entry in found[1:] if isinstance(entry, Rejection)]
    assert [(entry.line, entry.kind, entry.reason) for entry in rejections] == [
        (2, Kind.BAD_VECTOR, "vector number 5 is infinite"),
        (3, Kind.BAD_VECTOR, "vector is all zeros as 32-bit numbers: it has no direction"),
        (4, Kind.BAD_USER_ID, "user_id is not a UUID: 'x'"),
    ]
    assert rejections[0].original() == {"user_id": user_ids[1], "vector": [1.0, 1.0, 1.0, 1.0, "Infinity", *[1.0] * 507]}


@pytest.mark.parametrize(
    "user_ids", [np.frombuffer(np.full(36, 0x7FFFFFFF, "<u4").tobytes(), "<U36"), np.array([b"\xff"])], ids=["beyond Unicode", "not UTF-8"]
)
def test_read__id_is_not_a_text__is_rejected(tmp_path: Path, user_ids: NDArray[Any]) -> None:
    (found,) = read_npz(save(tmp_path, user_ids, np.ones((1, 512))), "x")
    assert isinstance(found, Rejection)
    assert (found.kind, found.reason) == (Kind.BAD_USER_ID, "user_id is not a text")
    assert found.original() == {"user_id": user_ids.tobytes().hex(), "vector": [1.0] * 512}


@pytest.mark.parametrize(
    ("user_ids", "vectors", "message"),
    [
        (valid_arrays(2)[0], np.ones((2, 511)), "FILE: vectors has the shape (2, 511) instead of (2, 512). Save a row of 512 for each id."),
        (valid_arrays(2)[0], np.ones((3, 512)), "FILE: vectors has the shape (3, 512) instead of (2, 512). Save a row of 512 for each id."),
        (valid_arrays(2)[0], np.ones(512), "FILE: vectors has the shape (512,) instead of (2, 512). Save a row of 512 for each id."),
        (valid_arrays(2)[0], np.ones((2, 512), int), "FILE: vectors contains <i8. Save floating-point numbers of 16, 32 or 64 bits."),
        (
            valid_arrays(2)[0],
            np.asfortranarray(np.ones((2, 512))),
            "FILE: vectors is stored by columns and cannot be read row by row. Save numpy.ascontiguousarray(...) of it.",
        ),
        (
            valid_arrays(2)[0].astype(object),
            np.ones((2, 512)),
            "FILE: user_ids contains pickled Python objects, which are never read. Save it as numbers or texts of a fixed length.",
        ),
        (
            np.arange(2),
            np.ones((2, 512)),
            "FILE: user_ids contains <i8 in the shape (2,). Save it as a list of texts (U36) or UUIDs (V16).",
        ),
        (np.frombuffer(bytes(16), "V8"), np.ones((2, 512)), "FILE: user_ids contains ids of 8 bytes. Save UUIDs of 16 bytes."),
        (
            np.zeros(2, [("a", "f4")]),
            np.ones((2, 512)),
            "FILE: user_ids contains [('a', '<f4')]. Save it as plain numbers, texts or bytes.",
        ),
        (valid_arrays(0)[0].astype("U36"), np.ones((0, 512)), "FILE contains no rows. Check the job that writes it."),
    ],
)
def test_check__unusable_arrays__are_refused(tmp_path: Path, user_ids: NDArray[Any], vectors: NDArray[Any], message: str) -> None:
    assert refusal(save(tmp_path, user_ids, vectors)) == message


def test_check__other_arrays__are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, *valid_arrays(), extra=np.ones(1))
    assert refusal(path) == "FILE contains extra, user_ids, vectors. Save exactly the arrays user_ids and vectors."


def test_check__not_a_zip_file__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"")
    assert refusal(path) == "FILE is damaged or not an .npz file: File is not a zip file."


def test_check__directory__is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "FILE cannot be read: Is a directory"


def test_check__member_is_not_an_array__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("user_ids.npy", b"\x93NUMPY\3\0")
        archive.writestr("vectors.npy", b"")
    assert refusal(path) == "FILE: user_ids is not an array in numpy's format 1.0 or 2.0. Save it with numpy."


def rewrite(path: Path, name: str, content: bytes) -> Path:
    """Replace the content of the member ``name`` in the archive."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, old in members.items():
            archive.writestr(member, content if member == name else old)
    return path


def test_check__fewer_rows_than_in_the_header__is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, *valid_arrays(257))
    with zipfile.ZipFile(path) as archive:
        content = archive.read("vectors.npy")
    assert (
        refusal(rewrite(path, "vectors.npy", content[:-1]))
        == "FILE: vectors is damaged: it has fewer than 257 rows. Save it again with numpy."
    )


def test_check__more_data_than_in_the_header__is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, *valid_arrays(1))
    with zipfile.ZipFile(path) as archive:
        content = archive.read("vectors.npy")
    assert (
        refusal(rewrite(path, "vectors.npy", content + b"!"))
        == "FILE: vectors is damaged: it has more data than 1 row. Save it again with numpy."
    )


def write_archive(path: Path, method: int, *arrays: tuple[str, NDArray[Any]], claimed: int = 0) -> Path:
    """Write an archive of ``arrays``. Its directory claims ``claimed`` bytes more than each member has."""
    file = path / "packed.npz"
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
            archive.infolist()[-1].file_size += claimed
    return file


def test_read__fewer_rows_than_in_the_zip_directory__reads_the_rows_before(tmp_path: Path) -> None:
    """The compressed data ends early."""
    user_ids, vectors = valid_arrays(ROWS_AT_A_TIME + 1)
    path = write_archive(tmp_path, zipfile.ZIP_DEFLATED, ("user_ids", user_ids), ("vectors", vectors))
    with zipfile.ZipFile(path) as archive:
        content = archive.read("vectors.npy")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("user_ids.npy", "w") as member:
            np.lib.format.write_array(member, user_ids)
        archive.writestr("vectors.npy", content[:-1])
        archive.getinfo("vectors.npy").file_size += 1
    assert check_npz(path) == ROWS_AT_A_TIME + 1
    reader = read_npz(path, "x")
    assert len([next(reader) for _ in range(ROWS_AT_A_TIME)]) == ROWS_AT_A_TIME
    with pytest.raises(UserFacingError, match=r"vectors is damaged: it has fewer than 257 rows\. Save it again with numpy\.$"):
        next(reader)


@pytest.mark.parametrize(("method", "message"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")])
def test_check__compression_without_a_memory_limit__is_refused(tmp_path: Path, method: int, message: str) -> None:
    user_ids, vectors = valid_arrays(1)
    path = write_archive(tmp_path, method, ("user_ids", user_ids), ("vectors", vectors))
    assert refusal(path) == f"FILE: user_ids is compressed with {message}. Save it with numpy.savez or numpy.savez_compressed."


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_check__repeated_member__is_refused(tmp_path: Path) -> None:
    """The last one would replace the first without an error."""
    user_ids, vectors = valid_arrays(1)
    path = write_archive(tmp_path, zipfile.ZIP_STORED, ("user_ids", user_ids), ("user_ids", user_ids), ("vectors", vectors))
    assert refusal(path) == "FILE contains one of its arrays twice. Save it again with numpy.savez."


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_check__more_rows_than_the_file_can_contain__is_refused(tmp_path: Path, method: int) -> None:
    """Headers and the zip directory claim 10,000 rows, and the file has one."""
    claimed = 10_000
    path = tmp_path / "claimed.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, descr, shape, size in (("user_ids", "<U36", (claimed,), 144), ("vectors", "<f4", (claimed, 512), 2048)):
            stream = io.BytesIO()
            np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", stream.getvalue() + bytes(size))
            archive.getinfo(f"{name}.npy").file_size = len(stream.getvalue()) + claimed * size
    assert refusal(path) == "FILE: user_ids is damaged: it has fewer than 10,000 rows. Save it again with numpy."


def test_check__members_larger_than_the_file__are_refused(tmp_path: Path) -> None:
    user_ids, vectors = valid_arrays(1)
    path = write_archive(tmp_path, zipfile.ZIP_STORED, ("user_ids", user_ids), ("vectors", vectors))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"so that the list of members is written again"
        for info in archive.infolist():
            info.compress_size = 10**6
    assert refusal(path) == "FILE is damaged or not an .npz file: its members are larger than the file."


def test_check__name_of_a_member_includes_its_data__message_is_short(tmp_path: Path) -> None:
    """The error of ``zipfile`` repeats the name: here 2,000 bytes of vectors."""
    path = save(tmp_path, *valid_arrays(10))
    content = bytearray(path.read_bytes())
    content[26:28] = (2000).to_bytes(2, "little")
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith("FILE is damaged or not an .npz file: File name in directory ")
    assert len(message) < 300


def test_check__huge_zip_directory__is_refused(tmp_path: Path) -> None:
    """``zipfile`` would create an object for each entry."""
    path = save(tmp_path, *valid_arrays(1))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"so that the list of members is written again"
        archive.filelist.extend([archive.filelist[0]] * 20_000)
    assert refusal(path) == "FILE is damaged or not an .npz file: its list of members is longer than 1,048,576 bytes."


def test_check__many_other_members__are_named_shortly(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(9):
            archive.writestr(f"{number}\n{'x' * 1000}", b"")
    message = refusal(path)
    assert message.startswith("FILE contains 0\\nxxx") and ", 4 more. Save exactly the arrays user_ids and vectors" in message
    assert len(message) < 600


def test_read__wrong_checksum__is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, *valid_arrays(1))
    content = bytearray(path.read_bytes())
    content[content.rindex(np.float32(1).tobytes())] ^= 1  # the last number of the last vector
    path.write_bytes(content)
    with pytest.raises(UserFacingError, match=r"is damaged or not an .npz file: Bad CRC-32 for file 'vectors.npy'\.$"):
        list(read_npz(path, "x"))


@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=3), deflated=st.booleans())
def test_read__file_damaged_anywhere__raises_no_other_error(
    tmp_path_factory: pytest.TempPathFactory, cut: float, flips: list[tuple[float, int]], *, deflated: bool
) -> None:
    """The result is rows, rejections or one line."""
    path = save(tmp_path_factory.mktemp("npz"), *valid_arrays(2), deflated=deflated)
    content = bytearray(path.read_bytes())
    for place, change in flips:
        content[int(place * len(content))] ^= change
    path.write_bytes(content[: int(cut * len(content)) + 1])
    with suppress(UserFacingError):
        check_npz(path)
        list(read_npz(path, "x"))


def test_check__header_claims_very_many_rows__allocates_no_memory(tmp_path: Path) -> None:
    path = save(tmp_path, np.array([str(uuid4())]), np.ones((1, 512), np.float32))
    for name, header in (
        ("user_ids.npy", {"descr": "<U36", "shape": (10**15,)}),
        ("vectors.npy", {"descr": "<f4", "shape": (10**15, 512)}),
    ):
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, header | {"fortran_order": False})
        rewrite(path, name, stream.getvalue())
    assert refusal(path) == "FILE: user_ids is damaged: it has fewer than 1,000,000,000,000,000 rows. Save it again with numpy."
