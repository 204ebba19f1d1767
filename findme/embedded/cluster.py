"""The server's data folder, created completely or not at all, and its access rules."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from findme.core.errors import UserFacingError
from findme.core.postgresql.programs import Binaries
from findme.embedded.account import Account, root_name
from findme.embedded.binaries import copy_binaries
from findme.embedded.paths import Files, Installation, write

ROLE = DATABASE = "findme"
UNFINISHED = "unfinished-"


def make_cluster(installation: Installation, lock: int, *, durable: bool) -> None:
    """Create the data folder with the database in it, unless it exists. The caller holds the lock; ``lock`` is its descriptor.

    The folder is created under another name and renamed when it is complete, so a folder from a killed command is never started.
    Raises UserFacingError.
    """
    data = installation.files.data
    if (data / "PG_VERSION").exists():
        _require_same_version(data, installation.binaries)
        return
    for leftover in installation.files.folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=installation.files.folder))
    try:
        installation.account.take_ownership(unfinished)
        _initdb(installation, unfinished, lock, durable=durable)
        _create_database(installation, unfinished, lock)
        unfinished.rename(data)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_access_rules(files: Files, account: Account) -> None:
    """Let only the account itself and root connect, whatever the socket's permissions are.

    With ``peer`` the kernel tells the server which account the client runs as, so there is no password to keep or to guess. The map lets only
    these two accounts use any role; as owners of the data they can do so anyway. The files are next to the data folder and not in it, because
    this may run as root: the account could have put a link into the data folder.
    """
    write(files.hba, f"local all all peer map={ROLE}\nlocal replication all peer map={ROLE}\n")
    write(files.ident, "".join(f'{ROLE} "{name}" all\n' for name in sorted({account.name, root_name()})))


def _initdb(installation: Installation, data: Path, lock: int, *, durable: bool) -> None:
    options = [
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        f"--username={ROLE}",
        "--auth=peer",
    ]
    with _path_for_a_shell(installation.binaries) as binaries:
        _run(installation, [str(binaries.path("initdb")), "-D", str(data), *options, *([] if durable else ["--no-sync"])], lock)


def _create_database(installation: Installation, data: Path, lock: int) -> None:
    """Use PostgreSQL's single-user mode, so that no server runs before the cluster is complete."""
    postgres = [str(installation.binaries.path("postgres")), "--single", "-D", str(data), "-c", "exit_on_error=on", "postgres"]
    _run(installation, postgres, lock, f"CREATE DATABASE {DATABASE};\n")


def _run(installation: Installation, command: list[str], lock: int, text: str = "") -> None:
    """Run one of PostgreSQL's binaries as the account. It also holds the lock: if this process is killed, the next one waits for it."""
    arguments = installation.account.popen_arguments() | {"stdin": None, "pass_fds": (lock,)}
    done = subprocess.run(command, check=False, input=text, capture_output=True, text=True, errors="replace", **arguments)  # noqa: S603  # our own words
    if done.returncode:
        words = f"it was ended by signal {-done.returncode}" if done.returncode < 0 else " ".join((done.stderr or done.stdout).split())
        raise UserFacingError(f"The database could not be created in {installation.files.folder}: {Path(command[0]).name}: {words}")


@contextmanager
def _path_for_a_shell(binaries: Binaries) -> Iterator[Binaries]:
    """Yield binaries whose path is safe between double quotes in a shell, as ``initdb`` uses it; if necessary a temporary copy."""
    if not set(str(binaries.home)) & set('"$`\\'):
        yield binaries
        return
    with tempfile.TemporaryDirectory(prefix="findme-") as folder:
        Path(folder).chmod(0o755)
        yield copy_binaries(binaries, Path(folder))


def _require_same_version(data: Path, binaries: Binaries) -> None:
    major = (data / "PG_VERSION").read_text().strip()
    if major != binaries.major:
        raise UserFacingError(
            f"{data} was created by PostgreSQL {major}, but the programs have version {binaries.version}."
            f" Dump it with the programs of {major}, or remove the folder to start with an empty database."
        )
