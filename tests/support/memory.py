"""Temporary folders in memory, if there is room. On a busy disk, a test waits five sixths of its time for the disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 2 * 2**30
"""Bytes that a server may need. Each Qdrant collection has two files of 32 MB for its log."""


def roomy_folder() -> Path:
    """Return the folder for stores and for copies of programs."""
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return Path(tempfile.gettempdir())
    return MEMORY if shutil.disk_usage(MEMORY).free > ROOM else Path(tempfile.gettempdir())


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Create a folder with a space in its path."""
    with tempfile.TemporaryDirectory(prefix="findme test ", dir=roomy_folder()) as folder:
        yield Path(folder)
