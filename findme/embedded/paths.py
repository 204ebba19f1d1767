"""Where a server's files are.

Normally in the folder that is asked for. As root the server runs as an unprivileged account; where that account cannot reach the folder or the
programs (a checkout in ``/root``, or in a folder by ``mktemp -d``), no permission is changed: data and a copy of the programs are then in
``/var/tmp/findme-<hash of the checkout's path>``, which root makes and only root can write.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from findme.core.errors import UserFacingError
from findme.core.folders import distrust_reason, make_private_folder
from findme.embedded.account import Account, account_for
from findme.embedded.binaries import PARTS, Binaries, copy_binaries, installed_binaries
from findme.embedded.lock import locked
from findme.environment import BASE_DIR

FALLBACK_PARENT = Path("/var/tmp")  # noqa: S108  # what is made in it belongs to root, or is refused


@dataclass(frozen=True)
class Files:
    """The files of one server. FOLDER is ours alone; inside it only ``data`` belongs to the account that the server runs as."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def version(self) -> Path:
        """The version of the server that was started last."""
        return self.folder / "version"

    @property
    def socket(self) -> Path:
        """Where the socket of the server that was started last is, or was."""
        return self.folder / "socket"

    @property
    def hba(self) -> Path:
        return self.folder / "pg_hba.conf"

    @property
    def ident(self) -> Path:
        return self.folder / "pg_ident.conf"


def write(path: Path, text: str) -> None:
    """Replace one of these files in one step; everyone may read it. Whoever reads it finds the old or the new one, and a link that somebody
    has put there is replaced, and not followed."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    temporary.replace(path)


@dataclass(frozen=True)
class Installation:
    files: Files
    account: Account
    binaries: Binaries


def find_installation(folder: Path) -> Installation:
    """Return where the server for FOLDER runs, and make its folder if it is missing. Raises UserFacingError where there can be none.

    Existing data stay where they are: a changed permission must not lead to an empty database.
    """
    folder, binaries = _absolute(folder), installed_binaries()
    _refuse_a_file(folder)
    here = Files(folder)
    account = account_for(here.data)
    if account.is_ours:
        make_private_folder(folder)
        return Installation(here, account, binaries)
    enters, runs = _enters(account, folder), _runs(account, binaries)
    if here.data.exists():
        if not enters:
            raise UserFacingError(
                f"The data in {folder} are those of {account.name!r}, who cannot reach them any more: let that user pass, or move the folder away to begin anew."
            )
        return Installation(here, account, binaries if runs else _copy_to_fallback(binaries))
    if enters and runs and not _fallback_files(folder).data.exists():
        _make_open(folder, parents=True, exist_ok=True)
        return Installation(here, account, binaries)
    return _fallback_installation(folder, binaries)


def _refuse_a_file(folder: Path) -> None:
    """Raise UserFacingError if ``folder``, or what is to be above it, is there and is no folder."""
    found = next(path for path in (folder, *folder.parents) if path.exists())
    if not found.is_dir():
        what = "which" if found == folder else f"and {str(found)!r}"
        raise UserFacingError(f"EMBEDDED_POSTGRES_DIR is {str(folder)!r}, {what} is no folder. Name a folder, or one that can be made.")


def require_trusted(folder: Path) -> None:
    """Raise UserFacingError for a folder that another account owns, can write in or can exchange: it could put its own data or access rules
    there."""
    folder = BASE_DIR / folder  # not resolved: the links on the way count
    if reason := distrust_reason(folder):
        raise UserFacingError(
            f"EMBEDDED_POSTGRES_DIR is {str(folder)!r}, {reason}: no server was used. Only you or root may own and write it: name another folder, or put that right."
        )


def possible_files(folder: Path) -> list[Files]:
    """Where a server for FOLDER may have been started by this account, now or when permissions were others."""
    candidates = [Files(_absolute(folder))]
    if os.geteuid() == 0 and _is_roots_own(fallback_directory()):
        candidates.append(_fallback_files(_absolute(folder)))
    return [files for files in candidates if files.folder.is_dir()]


def fallback_directory(checkout: Path = BASE_DIR) -> Path:
    return FALLBACK_PARENT / f"findme-{_hash(checkout)}"


def _fallback_installation(folder: Path, binaries: Binaries) -> Installation:
    copy = _copy_to_fallback(binaries)
    files = _fallback_files(folder)
    _make_open(files.folder, exist_ok=True)
    return Installation(files, account_for(files.data), copy)


def _copy_to_fallback(binaries: Binaries) -> Binaries:
    home = fallback_directory()
    _make_roots_own(home)
    with locked(home / "lock"):
        return copy_binaries(binaries, home)


def _fallback_files(folder: Path) -> Files:
    return Files(fallback_directory() / f"postgres-{_hash(folder)}")


def _make_roots_own(home: Path) -> None:
    """Make HOME, 0755. In a folder that everyone may write in, somebody else may have been here first: then nothing is put there."""
    try:
        _make_open(home)
    except FileExistsError:
        if not _is_roots_own(home):
            raise UserFacingError(
                f"{home} is where the embedded PostgreSQL would be, and it is not a folder that only root can write:"
                " remove it, or give the address of a server in DATABASE_URL."
            ) from None


def _is_roots_own(home: Path) -> bool:
    """Whether HOME is a folder, and no link to one, that only root can write."""
    try:
        found = home.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not stat.S_IMODE(found.st_mode) & 0o022


def _make_open(folder: Path, **options: bool) -> None:
    """Make FOLDER 0755 from its first moment, whatever the umask: another command may be looking whether the account can pass. One that is
    there stays as it is."""
    before = os.umask(0o022)
    try:
        folder.mkdir(**options)
    finally:
        os.umask(before)


def _enters(account: Account, folder: Path) -> bool:
    """Whether ACCOUNT can enter FOLDER, or what there is of the way to it."""
    return _can(account, 'cd -- "$1"', next(path for path in (folder, *folder.parents) if path.exists()))


def _runs(account: Account, binaries: Binaries) -> bool:
    library, share = (binaries.home / part for part in PARTS[1:3])
    return _can(account, 'test -x "$1" && test -r "$2" && test -r "$3"', binaries.path("postgres"), library, share)


def _can(account: Account, script: str, *paths: Path) -> bool:
    """Whether SCRIPT succeeds when ACCOUNT runs it: tried, since modes are not all that counts."""
    command = ["/bin/sh", "-c", script, "sh", *map(str, paths)]
    try:
        tried = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account.popen_arguments())  # noqa: S603  # our own words
    except OSError as error:
        raise UserFacingError(
            f"PostgreSQL does not run as root, and root may not become {account.name!r} here ({error.strerror}):"
            " run this as an ordinary user, or give the address of a server in DATABASE_URL."
        ) from None
    return tried.returncode == 0


def _absolute(folder: Path) -> Path:
    return (BASE_DIR / folder).resolve()


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
