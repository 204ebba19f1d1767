"""Inputs that are not ordinary files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from findme.core.errors import UserFacingError
from tests.vectorstore.ingest.inputs import open_pipe
from vectorstore.ingest.formats.json_lines import check_json_lines, read_json_lines
from vectorstore.ingest.formats.npz import check_npz
from vectorstore.ingest.formats.parquet.reader import check_parquet


@pytest.mark.parametrize(("check", "ending"), [(check_npz, "npz"), (check_parquet, "parquet")])
def test_check__pipe_or_device__is_refused(tmp_path: Path, check: Callable[[Path], int], ending: str) -> None:
    device = tmp_path / f"device.{ending}"
    device.symlink_to("/dev/zero")
    with open_pipe(tmp_path / f"pipe.{ending}") as one:
        for path in (one, device):
            with pytest.raises(UserFacingError) as refused:
                check(path)
            assert (
                str(refused.value)
                == f"{str(path)!r} is not an ordinary file, which its format needs. Save it to a file. Only JSON Lines can be read from a pipe."
            )


@pytest.mark.parametrize("read", [check_json_lines, lambda path: next(read_json_lines(path, "x"))], ids=["check", "read"])
@pytest.mark.parametrize("device", ["/dev/null", "/dev/tty", "/dev/ptmx"])
def test_json_lines__device__is_refused(tmp_path: Path, device: str, read: Callable[[Path], object]) -> None:
    """Such a device may have no end, and a terminal waits for input."""
    path = tmp_path / "x.jsonl"
    path.symlink_to(device)
    with pytest.raises(UserFacingError) as refused:
        read(path)
    assert (
        str(refused.value)
        == f"{str(path)!r} is a device, which may have no end. Name an ordinary file or a pipe, or '-' for standard input."
    )
