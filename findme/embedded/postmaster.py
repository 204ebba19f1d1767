"""The server's process: found, started, ended, and what a crash left of it cleared away.

A server carries its data folder's identity as ``cluster_name``, on its command line and in the titles of its children. So a process is only
ever taken for ours, or ended, when it says so and belongs to the owner of the data: never by a number in a file alone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from findme.console.errors import NotDone
from findme.embedded.place import Files, Place

PORT = 5432
"""No port of the machine: a part of the socket's name."""
START_SECONDS, FAST_SECONDS, IMMEDIATE_SECONDS, ORPHAN_SECONDS = 120.0, 30.0, 10.0, 1.0
PROC = Path("/proc")
NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True)
class Postmaster:
    """What ``postmaster.pid`` says."""

    pid: int
    socket_folder: Path
    status: str

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"

    def answers(self) -> bool:
        """Whether somebody listens at the socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.settimeout(5)
            try:
                end.connect(str(self.socket_folder / f".s.PGSQL.{PORT}"))
            except OSError:
                return False
        return True


def find(data: Path) -> Postmaster | None:
    """The server that runs over DATA, ready or not; None where none does."""
    found = _read_pid_file(data)
    return found if found is not None and _is_ours(found.pid, data) else None


def start(place: Place, *, durable: bool) -> Postmaster:
    """Start the server and wait until it takes connections. Raises NotDone with its own words.

    Another attempt is for a crash that is still going on: processes of the server before that had not ended when they were looked for.
    """
    for wait_seconds in (0.2, 0.5, 0.0):
        clear_what_is_left(place.files)
        socket_folder = _make_socket_folder(place)
        running = _wait_until_ready(place, _launch(place, socket_folder, durable=durable))
        if running is not None:
            return running
        time.sleep(wait_seconds)
    raise NotDone(f"PostgreSQL did not start: {_last_words(place.files.log)} All of it is in {place.files.log}")


def wait_until_ready(data: Path) -> Postmaster | None:
    """The server over DATA when it takes connections; None when it has ended meanwhile. Raises NotDone at the deadline."""
    deadline = time.monotonic() + START_SECONDS
    while (running := find(data)) is not None:
        if running.is_ready and running.answers():
            return running
        if time.monotonic() > deadline:
            raise NotDone(f"PostgreSQL (process {running.pid}) does not get ready in {data.parent}: `make stop` ends it, then try again.")
        time.sleep(0.02)
    return None


def end(files: Files) -> bool:
    """End the server, whatever state it is in, and say whether there was one."""
    data = files.data
    found = find(data)
    if found is not None:
        for sent, seconds in ((signal.SIGINT, FAST_SECONDS), (signal.SIGQUIT, IMMEDIATE_SECONDS), (signal.SIGKILL, IMMEDIATE_SECONDS)):
            _send(found.pid, sent)
            if _wait_for(lambda: not _is_ours(found.pid, data), seconds):
                break
    clear_what_is_left(files)
    return found is not None


def clear_what_is_left(files: Files) -> None:
    """Where no server runs any more: end the children of one that was killed, and remove its socket's folder and the file that names it.

    PostgreSQL starts neither beside such children nor while the number in the file is that of another, later process.
    """
    if not files.data.exists() or find(files.data) is not None:
        return
    for sent, seconds in ((signal.SIGQUIT, ORPHAN_SECONDS), (signal.SIGKILL, IMMEDIATE_SECONDS)):
        for pid in _orphans(files.data):
            _send(pid, sent)
        if _wait_for(lambda: not _orphans(files.data), seconds):
            break
    left = _read_pid_file(files.data)
    if left is None or not _may_be_postgres(left.pid):
        (files.data / "postmaster.pid").unlink(missing_ok=True)
        _remove_socket_folder(files)


def _launch(place: Place, socket_folder: Path, *, durable: bool) -> int:
    """Start ``postgres`` in a session of its own and give its process id.

    The shell in between ends at once, so the server is nobody's child, neither stopped by a Ctrl-C nor left behind as a zombie; it holds
    neither the command's output nor the lock.
    """
    settings = [
        f"cluster_name={_identity(place.files.data)}",
        "listen_addresses=",
        f"unix_socket_directories={socket_folder}",
        "unix_socket_permissions=0700",
        f"port={PORT}",
        f"hba_file={place.files.hba}",
        f"ident_file={place.files.ident}",
        *([] if durable else NOT_DURABLE),
    ]
    command = [
        str(place.programs.path("postgres")),
        "-D",
        str(place.files.data),
        *(word for setting in settings for word in ("-c", setting)),
    ]
    if place.files.log.exists():
        place.files.log.replace(place.files.log.with_name("log.before"))
    log = os.open(place.files.log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        shell = ["/bin/sh", "-c", '{ exec "$@" >&2; } & echo $!', "sh", *command]
        arguments = place.account.popen_arguments() | {"stdout": subprocess.PIPE, "stderr": log, "start_new_session": True}
        return int(subprocess.run(shell, check=True, **arguments).stdout)  # noqa: S603  # our own words
    finally:
        os.close(log)


def _make_socket_folder(place: Place) -> Path:
    """A folder with a name that cannot be guessed, which only the account, and root, can enter.

    Not in the data folder: a socket's path ends at 107 bytes. The server writes the name to ``postmaster.pid``, where clients find it.
    """
    base = next(path for path in (Path("/tmp"), Path("/var/tmp")) if os.access(path, os.W_OK | os.X_OK))  # noqa: S108  # mkdtemp makes it, 0700
    folder = Path(tempfile.mkdtemp(prefix="findme-", dir=base))
    place.account.give(folder)
    place.files.socket.write_text(str(folder))
    return folder


def _remove_socket_folder(files: Files) -> None:
    """Only what PostgreSQL put there, and the folder if nothing else is in it."""
    try:
        folder = Path(files.socket.read_text())
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        return


def _wait_until_ready(place: Place, pid: int) -> Postmaster | None:
    """The server PID when it takes connections, None when it ended instead."""
    deadline = time.monotonic() + START_SECONDS
    while _is_ours(pid, place.files.data):
        found = _read_pid_file(place.files.data)
        if found is not None and found.pid == pid and found.is_ready:
            return found
        if time.monotonic() > deadline:
            raise NotDone(f"PostgreSQL is not ready after {START_SECONDS:.0f} s; it goes on, and says what it does in {place.files.log}")
        time.sleep(0.02)
    return None


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    telling = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error"))] or lines
    return " ".join(telling[-1].split()) if telling else "it ended without a word."


def _read_pid_file(data: Path) -> Postmaster | None:
    """``postmaster.pid``: process, data folder, start, port, socket folder, address, shared memory, status; the last lines come last."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
        return Postmaster(int(lines[0]), Path(lines[4]), lines[7].strip() if len(lines) > 7 else "starting")
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _identity(data: Path) -> str:
    """The data folder, by what stays when it is renamed and differs when it is copied."""
    found = data.stat()
    return f"findme-{found.st_dev:x}-{found.st_ino:x}"


def _is_ours(pid: int, data: Path) -> bool:
    """Whether PID is the server that was started over DATA."""
    if not PROC.joinpath("self").exists():
        return _exists(pid)
    return f"cluster_name={_identity(data)}" in _command_line(pid) and _owner(pid) == data.stat().st_uid


def _may_be_postgres(pid: int) -> bool:
    """Whether PID may be a server over these data that was started by hand: PostgreSQL itself then says what is wrong."""
    if not PROC.joinpath("self").exists():
        return _exists(pid)
    words = _command_line(pid) or [""]
    another_of_ours = any(word.startswith(("cluster_name=findme-", "postgres: findme-")) for word in words)
    return not another_of_ours and Path(words[0]).name.partition(":")[0] == "postgres"


def _orphans(data: Path) -> list[int]:
    """The processes of a server over DATA: its children's titles begin with its ``cluster_name``."""
    title, owner = f"postgres: {_identity(data)}: ", data.stat().st_uid
    pids = [int(entry.name) for entry in PROC.glob("[0-9]*")] if PROC.joinpath("self").exists() else []
    return [pid for pid in pids if _command_line(pid)[:1] and _command_line(pid)[0].startswith(title) and _owner(pid) == owner]


def _command_line(pid: int) -> list[str]:
    """Its words; none for a process that is gone or a zombie."""
    try:
        return os.fsdecode((PROC / str(pid) / "cmdline").read_bytes()).split("\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def _owner(pid: int) -> int | None:
    try:
        return (PROC / str(pid)).stat().st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _send(pid: int, sent: signal.Signals) -> None:
    try:
        os.kill(pid, sent)
    except ProcessLookupError:
        return


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return met
