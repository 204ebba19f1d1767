"""Find, start and stop the server's process, and clean up after a crash."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from findme.core.errors import UserFacingError
from findme.core.waiting import Deadline, wait_until
from findme.embedded.paths import Files, Installation, write
from findme.embedded.processes import identity, is_ours, may_be_postgres, orphans, send, servers

PORT = 5432
"""A part of the socket's name. The server uses no TCP port."""
START_SECONDS, FAST_SECONDS, IMMEDIATE_SECONDS, ORPHAN_SECONDS = 120.0, 30.0, 10.0, 1.0
POLL_SECONDS = 0.02
NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
LOG_WITHOUT_ROWS = (
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
    "log_parameter_max_length_on_error=0",
    "log_min_messages=log",
)
"""Settings that keep personal data out of the log: no statement, DETAIL or parameter.

Errors of statements are not logged at all, because ``invalid input syntax for type uuid: "..."`` quotes the value. The client still receives them.
"""


@dataclass(frozen=True)
class Postmaster:
    """The contents of ``postmaster.pid``."""

    pid: int
    socket_folder: Path
    status: str

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"

    def answers(self) -> bool:
        """Return whether a server listens at the socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.settimeout(5)
            try:
                end.connect(str(self.socket_folder / f".s.PGSQL.{PORT}"))
            except OSError:
                return False
        return True


def find(data: Path) -> Postmaster | None:
    """Return the server that runs over ``data``, ready or not; None if there is none."""
    found = _read_pid_file(data)
    return found if found is not None and is_ours(found.pid, data) else None


def start(installation: Installation, *, durable: bool) -> Postmaster:
    """Start the server and wait until it accepts connections. Raise UserFacingError with the server's own error.

    It tries again because of a recent crash: processes of the crashed server may not have ended yet.
    """
    for wait_seconds in (0.2, 0.5, 0.0):
        clear_leftovers(installation.files)
        socket_folder = _make_socket_folder(installation)
        running = _wait_until_ready(installation, _launch(installation, socket_folder, durable=durable))
        if running is not None:
            return running
        _remove_socket_folder(installation.files)
        time.sleep(wait_seconds)
    raise UserFacingError(f"PostgreSQL did not start: {_last_error(installation.files.log)} (see the log {installation.files.log})")


def wait_until_ready(data: Path) -> Postmaster | None:
    """Return the server over ``data`` when it accepts connections; None if there is none, or if it ends meanwhile.

    Raises UserFacingError at the deadline.
    """
    for _ in Deadline(START_SECONDS).polls(POLL_SECONDS):
        if not (pids := _pids(data)):
            return None
        found = find(data)
        if found is not None and found.is_ready and found.answers():
            return found
    raise UserFacingError(f"PostgreSQL (process {pids[0]}) in {data.parent} does not become ready. Run make stop, then try again.")


def end(files: Files) -> bool:
    """Stop the server in any state, and return whether there was one."""
    pids = _pids(files.data)
    for sent, seconds in ((signal.SIGINT, FAST_SECONDS), (signal.SIGQUIT, IMMEDIATE_SECONDS), (signal.SIGKILL, IMMEDIATE_SECONDS)):
        for pid in _pids(files.data):
            send(pid, sent)
        if wait_until(lambda: not _pids(files.data), seconds, poll_seconds=POLL_SECONDS):
            break
    clear_leftovers(files)
    return bool(pids)


def _pids(data: Path) -> list[int]:
    """Return the servers over ``data``, including one without a PID file: its command may have been killed while it started it."""
    if not data.exists():
        return []
    found = find(data)
    return [found.pid] if found is not None else servers(data)


def clear_leftovers(files: Files) -> None:
    """Clean up if no server runs: end the children of a killed server, and remove its socket folder and PID file.

    PostgreSQL does not start while such children run, or while the number in the file is that of another, later process.
    """
    if not files.data.exists() or _pids(files.data):
        return
    for sent, seconds in ((signal.SIGQUIT, ORPHAN_SECONDS), (signal.SIGKILL, IMMEDIATE_SECONDS)):
        for pid in orphans(files.data):
            send(pid, sent)
        if wait_until(lambda: not orphans(files.data), seconds, poll_seconds=POLL_SECONDS):
            break
    stale = _read_pid_file(files.data)
    if stale is not None and may_be_postgres(stale.pid):
        return
    if stale is not None:
        (files.data / "postmaster.pid").unlink()
    _remove_socket_folder(files)


def _launch(installation: Installation, socket_folder: Path, *, durable: bool) -> int:
    """Start ``postgres`` in its own session and return its process id.

    The shell in between ends at once, so the server is not a child of this process. A Ctrl-C does not stop it, and it does not stay as a zombie.
    It holds neither the command's output nor the lock.
    """
    settings = [
        f"cluster_name={identity(installation.files.data)}",
        "listen_addresses=",
        f"unix_socket_directories={socket_folder}",
        "unix_socket_permissions=0700",
        f"port={PORT}",
        f"hba_file={installation.files.hba}",
        f"ident_file={installation.files.ident}",
        *LOG_WITHOUT_ROWS,
        *([] if durable else NOT_DURABLE),
    ]
    command = [
        str(installation.binaries.path("postgres")),
        "-D",
        str(installation.files.data),
        *(word for setting in settings for word in ("-c", setting)),
    ]
    if installation.files.log.exists():
        installation.files.log.replace(installation.files.log.with_name("log.before"))
    log = os.open(installation.files.log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        shell = ["/bin/sh", "-c", '{ exec "$@" >&2; } & echo $!', "sh", *command]
        arguments = installation.account.popen_arguments() | {"stdout": subprocess.PIPE, "stderr": log, "start_new_session": True}
        return int(subprocess.run(shell, check=True, **arguments).stdout)  # noqa: S603  # our own words
    finally:
        os.close(log)


def _make_socket_folder(installation: Installation) -> Path:
    """Create a folder with an unpredictable name that only the account and root can enter.

    It is not in the data folder, because a socket's path has at most 107 bytes. The server writes the name to ``postmaster.pid`` for its clients.
    """
    base = next(path for path in (Path("/tmp"), Path("/var/tmp")) if os.access(path, os.W_OK | os.X_OK))  # noqa: S108  # mkdtemp makes it, 0700
    folder = Path(tempfile.mkdtemp(prefix="findme-", dir=base))
    installation.account.take_ownership(folder)
    write(installation.files.socket, str(folder))
    return folder


def _remove_socket_folder(files: Files) -> None:
    """Remove PostgreSQL's files, and the folder if it is empty then. A folder of another account stays, whatever the file names."""
    try:
        folder = Path(files.socket.read_text())
        if folder.lstat().st_uid != files.data.stat().st_uid:
            return
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        return


def _wait_until_ready(installation: Installation, pid: int) -> Postmaster | None:
    """Return the server ``pid`` when it accepts connections, or None if it ends."""
    for _ in Deadline(START_SECONDS).polls(POLL_SECONDS):
        if not is_ours(pid, installation.files.data):
            return None
        found = _read_pid_file(installation.files.data)
        if found is not None and found.pid == pid and found.is_ready:
            return found
    raise UserFacingError(
        f"PostgreSQL is not ready after {START_SECONDS:.0f} s and continues to start. See the log {installation.files.log}, then try again."
    )


def _last_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error"))] or lines
    return " ".join(errors[-1].split()) if errors else "it exited without a message."


def _read_pid_file(data: Path) -> Postmaster | None:
    """Read ``postmaster.pid``: process, data folder, start, port, socket folder, address, shared memory, status.

    The server writes the last lines later than the first ones.
    """
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
        return Postmaster(int(lines[0]), Path(lines[4]), lines[7].strip() if len(lines) > 7 else "starting")
    except (FileNotFoundError, IndexError, ValueError):
        return None
