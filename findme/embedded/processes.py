"""Identify the processes of a server, never by a number in a file alone.

A server has its data folder's identity as ``cluster_name``, on its command line and in the titles of its children. A process counts as ours, and
may be ended, only if it has this identity and belongs to the owner of the data. Both can be read from ``/proc`` without a privilege, also for a
process of another account. Without ``/proc``, the number in the file decides.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

PROC = Path("/proc")


def identity(data: Path) -> str:
    """Return an id of the data folder that stays when it is renamed and differs when it is copied."""
    found = data.stat()
    return f"findme-{found.st_dev:x}-{found.st_ino:x}"


def is_ours(pid: int, data: Path) -> bool:
    """Return whether ``pid`` is the server that was started over ``data``."""
    if not _has_proc():
        return _exists(pid)
    return f"cluster_name={identity(data)}" in _command_line(pid) and _owner(pid) == data.stat().st_uid


def may_be_postgres(pid: int) -> bool:
    """Return whether ``pid`` may be a server that was started by hand: PostgreSQL itself then reports the problem."""
    if not _has_proc():
        return _exists(pid)
    words = _command_line(pid) or [""]
    another_of_ours = any(word.startswith(("cluster_name=findme-", "postgres: findme-")) for word in words)
    return not another_of_ours and Path(words[0]).name.partition(":")[0] == "postgres"


def servers(data: Path) -> list[int]:
    """Return the servers over ``data``: one at most, also if it has no PID file yet or any more."""
    return _all_of(data, lambda words: f"cluster_name={identity(data)}" in words)


def orphans(data: Path) -> list[int]:
    """Return the children of a server over ``data``: their titles begin with its ``cluster_name``."""
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
    """Return the arguments of the process; none for one that does not exist or is a zombie."""
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
