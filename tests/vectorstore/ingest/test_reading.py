"""Inputs that are no ordinary files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from findme.console.errors import NotDone
from vectorstore.ingest.npz import check_npz
from vectorstore.ingest.parquet import check_parquet


@contextmanager
def pipe(path: Path) -> Iterator[Path]:
    """A pipe with a writer, which never writes: opening it does not wait."""
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield path
    finally:
        os.close(writer)


@pytest.mark.parametrize(("check", "ending"), [(check_npz, "npz"), (check_parquet, "parquet")])
def test_check__a_pipe_and_a_device(tmp_path: Path, check: Callable[[Path], int], ending: str) -> None:
    device = tmp_path / f"device.{ending}"
    device.symlink_to("/dev/zero")
    with pipe(tmp_path / f"pipe.{ending}") as one:
        for path in (one, device):
            with pytest.raises(NotDone) as refused:
                check(path)
            assert (
                str(refused.value)
                == f"{str(path)!r} is not an ordinary file, which its format needs: save it to one. JSON Lines may come by a pipe."
            )
