"""Which processes are a server's: never told by a number in a file alone.

A server carries its data folder's identity as ``cluster_name``, on its command line and in the titles of its children. So a process is only
ever taken for ours, or ended, when it says so and belongs to the owner of the data. What ``/proc`` tells of a process of another account needs
no privilege for these two; where there is no ``/proc``, the number in the file is believed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

PROC = Path("/proc")


def identity(data: Path) -> str:
    """The data folder, by what stays when it is renamed and differs when it is copied."""
    found = data.stat()
    return f"findme-{found.st_dev:x}-{found.st_ino:x}"


def is_ours(pid: int, data: Path) -> bool:
    """Whether PID is the server that was started over DATA."""
    if not _has_proc():
        return _exists(pid)
    return f"cluster_name={identity(data)}" in _command_line(pid) and _owner(pid) == data.stat().st_uid


def may_be_postgres(pid: int) -> bool:
    """Whether PID may be a server over some data that was started by hand: PostgreSQL itself then says what is wrong."""
    if not _has_proc():
        return _exists(pid)
    words = _command_line(pid) or [""]
    another_of_ours = any(word.startswith(("cluster_name=findme-", "postgres: findme-")) for word in words)
    return not another_of_ours and Path(words[0]).name.partition(":")[0] == "postgres"


def servers(data: Path) -> list[int]:
    """The servers over DATA: one at most, also while it has not yet, or no longer, a file that names it."""
    return _all_of(data, lambda words: f"cluster_name={identity(data)}" in words)


def orphans(data: Path) -> list[int]:
    """The children of a server over DATA: their titles begin with its ``cluster_name``."""
    title = f"postgres: {identity(data)}: "
    return _all_of(data, lambda words: words[0].startswith(title))


def _all_of(data: Path, fits: Callable[[list[str]], bool]) -> list[int]:
    pids = [int(entry.name) for entry in PROC.glob("[0-9]*")]
    owner = data.stat().st_uid
    return [pid for pid in pids if (words := _command_line(pid)) and fits(words) and _owner(pid) == owner]


def send(pid: int, sent: signal.Signals) -> None:
    try:
        os.kill(pid, sent)
    except ProcessLookupError:
        return


def _has_proc() -> bool:
    return (PROC / "self").exists()


def _command_line(pid: int) -> list[str]:
    """Its words; none for a process that is gone or has ended and waits to be reaped."""
    try:
        return os.fsdecode((PROC / str(pid) / "cmdline").read_bytes()).rstrip("\0").split("\0")
    except OSError:
        return []


def _owner(pid: int) -> int | None:
    try:
        return (PROC / str(pid)).stat().st_uid
    except OSError:
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
