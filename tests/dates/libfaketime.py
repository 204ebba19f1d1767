"""libfaketime for PostgreSQL: where it is installed, and a copy without its wait functions.

While a process is in ``epoll_wait``, ``poll``, ``select`` or a sleep of libfaketime 0.9.10, its signal handlers see the real time. PostgreSQL
waits in ``epoll_wait``, and the handler of its timer compares the time with the deadline. With a clock that is ahead of the real one no
``lock_timeout``, ``statement_timeout`` or ``deadlock_timeout`` ever ends a statement. No option of libfaketime changes this. The copy therefore
hides these functions, and PostgreSQL finds those of the C library.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

LIBRARY = "faketime/libfaketime.so.1"
FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
WAITS = {b"poll\0": b"Poll\0", b"epoll_": b"Epoll_", b"select\0": b"Select\0", b"sleep\0": b"Sleep\0"}
"""Ends of the exported names, and what they become in the copy. The linker keeps ``poll`` and ``ppoll`` as one string."""
STRING_TABLE, ALLOCATED = 3, 2


def find(folders: Sequence[str] = FOLDERS) -> Path | None:
    """Return the path of the library. Debian puts it in a folder for the machine's architecture."""
    found = [path for folder in folders for pattern in (LIBRARY, f"*/{LIBRARY}") for path in Path(folder).glob(pattern)]
    return found[0] if found else None


def copy_without_waits(library: Path, folder: Path) -> Path:
    """Write the copy into ``folder``, where every account can read it. Raises ValueError for a file that is not a 64-bit ELF library."""
    content = bytearray(library.read_bytes())
    start, size = _exported_names(content)
    names = bytes(content[start : start + size])
    for name, hidden in WAITS.items():
        names = names.replace(name, hidden)
    content[start : start + size] = names
    copy = folder / library.name
    copy.write_bytes(content)
    copy.chmod(0o644)
    return copy


def _exported_names(content: bytes | bytearray) -> tuple[int, int]:
    """Return offset and size of ``.dynstr``, the only string table that is loaded with the library."""
    if content[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (headers,) = struct.unpack_from("<Q", content, 0x28)
    entry_size, count = struct.unpack_from("<HH", content, 0x3A)
    for number in range(count):
        _, kind, flags, _, start, size = struct.unpack_from("<IIQQQQ", content, headers + number * entry_size)
        if kind == STRING_TABLE and flags & ALLOCATED:
            return start, size
    raise ValueError("no table of exported names")
