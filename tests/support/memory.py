"""Folders in memory where there is room: on a busy disk, five sixths of a test's time are the disk's."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 2 * 2**30
"""Bytes that a server may want: each of Qdrant's collections keeps two files of 32 MB for its log."""


def roomy_folder() -> Path:
    """Where stores for tests may be made, and copies of programs that are run."""
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return Path(tempfile.gettempdir())
    return MEMORY if shutil.disk_usage(MEMORY).free > ROOM else Path(tempfile.gettempdir())


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """It has a blank in its path."""
    with tempfile.TemporaryDirectory(prefix="findme test ", dir=roomy_folder()) as folder:
        yield Path(folder)
