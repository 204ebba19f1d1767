"""The header of .npy files: nothing is unpickled, and no size is trusted."""

from __future__ import annotations

import io
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from findme.core.errors import UserFacingError
from vectorstore.ingest.formats.npy import LONGEST_HEADER, read_header


def npy(header: str, version: bytes = b"\1\0") -> io.BytesIO:
    text = header.encode("latin-1")
    return io.BytesIO(b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(text)) + text)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_header__is_read__leaves_the_stream_at_the_data(version: tuple[int, int]) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([[1.5, 2.5]], ">f4"), version=version)
    stream.seek(0)
    header = read_header(stream, "x")
    assert (header.shape, header.dtype) == ((1, 2), np.dtype(">f4"))
    assert np.frombuffer(stream.read(), header.dtype).tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "x is damaged: its shape is (-1,). Save it again with numpy."),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", "x is damaged: its shape is (True,). Save it again with numpy."),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': 3}", "x is damaged: its shape is 3. Save it again with numpy."),
        ("{'descr': '<f4', 'fortran_order': False}", "x is damaged: its header cannot be read. Save it again with numpy."),
        ("__import__('os')", "x is damaged: its header cannot be read. Save it again with numpy."),
        ("(" * 1000, "x is damaged: its header cannot be read. Save it again with numpy."),
        ("{'descr': '<f3', 'fortran_order': False, 'shape': ()}", "x contains '<f3'. Save it as plain numbers, texts or bytes."),
        ("{'descr': '<M8[s]', 'fortran_order': False, 'shape': ()}", "x contains '<M8[s]'. Save it as plain numbers, texts or bytes."),
        ("{'descr': 'f4,f4', 'fortran_order': False, 'shape': ()}", "x contains 'f4,f4'. Save it as plain numbers, texts or bytes."),
        (
            "{'descr': '|O', 'fortran_order': False, 'shape': ()}",
            "x contains pickled Python objects, which are never read. Save it as numbers or texts of a fixed length.",
        ),
    ],
)
def test_header__invalid__is_refused(header: str, message: str) -> None:
    with pytest.raises(UserFacingError) as raised:
        read_header(npy(header), "x")
    assert str(raised.value) == message


@pytest.mark.parametrize("version", [b"\3\0", b"\0\0"])
def test_header__other_version__is_refused(version: bytes) -> None:
    with pytest.raises(UserFacingError, match=r"^x is not an array in numpy's format 1.0 or 2.0\. Save it with numpy\.$"):
        read_header(npy("{}", version), "x")


def test_header__claims_too_many_bytes__is_refused() -> None:
    with pytest.raises(UserFacingError, match=r"^x is damaged: its header claims 65,537 bytes\. Save it again with numpy\.$"):
        read_header(io.BytesIO(b"\x93NUMPY\2\0" + struct.pack("<I", LONGEST_HEADER + 1)), "x")


def test_header__truncated__is_refused() -> None:
    with pytest.raises(UserFacingError, match=r"^x is damaged: it ends within its header\. Save it again with numpy\.$"):
        read_header(io.BytesIO(b"\x93NUM"), "x")


@given(st.binary(max_size=100).map(lambda text: npy(text.decode("latin-1"))) | st.binary(max_size=100).map(io.BytesIO))
def test_header__any_bytes__raise_no_other_error(stream: io.BytesIO) -> None:
    with suppress(UserFacingError):
        read_header(stream, "x")
