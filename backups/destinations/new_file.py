"""A new file of a folder that gets its name when it is complete."""

from __future__ import annotations

import errno
import os
import re
import secrets
from pathlib import Path

from findme.core.files import NO_UNNAMED_FILES

UNFINISHED = re.compile(r"\.findme-[0-9a-f]{16}\.part")
"""The hidden name of a file that is not complete, on a file system without unnamed files (NFS, SMB)."""
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""Error numbers of file systems without hard links."""
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
DESCRIPTORS = Path("/proc/self/fd")


class NewFile:
    """A file of mode 0600 in an existing folder. Raises OSError.

    It has no name at first (``O_TMPFILE``), so a killed process leaves nothing. A file system without such files gets a hidden one, which a killed
    process leaves. ``atomic_write`` of ``findme.core.files`` would copy the file to its name there, which takes the room of two.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.path = folder / name
        self.hidden: Path | None = None
        self.file = os.fdopen(self._open(), "wb", buffering=0)
        os.fchmod(self.file.fileno(), 0o600)

    def publish(self) -> None:
        """Give the complete file its name, durably. Raise FileExistsError if another file has the name."""
        os.fsync(self.file.fileno())
        if self.hidden is None:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # With the descriptor of a folder, Python calls linkat(), which follows the link in /proc to the file. link() does not follow it.
                os.link(DESCRIPTORS / str(self.file.fileno()), self.path.name, dst_dir_fd=folder, follow_symlinks=True)
            finally:
                os.close(folder)
        else:
            self._rename(self.hidden)
        sync_folder(self.folder)

    def close(self) -> None:
        self.file.close()
        if self.hidden is not None:
            self.hidden.unlink(missing_ok=True)

    def _open(self) -> int:
        if hasattr(os, "O_TMPFILE") and DESCRIPTORS.is_dir():
            try:
                return os.open(self.folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError as error:
                if error.errno not in NO_UNNAMED_FILES:
                    raise
        self.hidden = self.folder / f".findme-{secrets.token_hex(8)}.part"
        return os.open(self.hidden, NEW, 0o600)

    def _rename(self, hidden: Path) -> None:
        try:
            self.path.hardlink_to(hidden)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if os.path.lexists(self.path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.path)) from None
            hidden.rename(self.path)


def sync_folder(folder: Path) -> None:
    """Make changes of the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
