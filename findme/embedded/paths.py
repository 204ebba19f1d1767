"""The folders and files of an embedded server.

They are normally in the configured folder. Started by root, the server runs as an unprivileged account. That account may be unable to reach the
folder or the programs, for example if the checkout is in ``/root`` or in a folder of ``mktemp -d``. No permission is changed then: data and a
copy of the programs are in ``/var/tmp/findme-<hash of the checkout's path>``, which root creates and only root can write.
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
from findme.core.postgresql.programs import Binaries, installed_binaries
from findme.embedded.account import Account, account_for
from findme.embedded.binaries import PARTS, copy_binaries
from findme.embedded.lock import locked
from findme.environment import BASE_DIR

FALLBACK_PARENT = Path("/var/tmp")  # noqa: S108  # a folder in it is used only if it belongs to root


@dataclass(frozen=True)
class Files:
    """The files of one server. Only ``data`` belongs to the account that the server runs as; ``folder`` belongs to the caller."""

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
        """The file with the path of the socket folder of the server that was started last."""
        return self.folder / "socket"

    @property
    def hba(self) -> Path:
        return self.folder / "pg_hba.conf"

    @property
    def ident(self) -> Path:
        return self.folder / "pg_ident.conf"


def write(path: Path, text: str) -> None:
    """Replace one of these files atomically; all accounts may read it.

    A reader finds the old or the new file. A link that another account has put there is replaced and not followed.
    """
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
    """Return the installation of the server for ``folder``, and create its folder if it is missing. Raise UserFacingError if none is possible.

    Existing data stay where they are: a changed permission must not lead to an empty database.
    """
    folder, binaries = _absolute(folder), installed_binaries()
    _require_no_file(folder)
    here = Files(folder)
    account = account_for(here.data)
    if account.is_ours:
        make_private_folder(folder)
        return Installation(here, account, binaries)
    can_enter, can_run = _can_enter(account, folder), _can_run(account, binaries)
    if here.data.exists():
        if not can_enter:
            raise UserFacingError(
                f"The data in {folder} belong to {account.name!r}, which can no longer reach them. Give that account access,"
                " or move the folder away to start with an empty database."
            )
        return Installation(here, account, binaries if can_run else _copy_to_fallback(binaries))
    if can_enter and can_run and not _fallback_files(folder).data.exists():
        _make_open(folder, parents=True, exist_ok=True)
        return Installation(here, account, binaries)
    return _fallback_installation(folder, binaries)


def _require_no_file(folder: Path) -> None:
    """Raise UserFacingError if ``folder`` or one of its parents exists and is not a folder."""
    found = next(path for path in (folder, *folder.parents) if path.exists())
    if not found.is_dir():
        what = "which" if found == folder else f"and {str(found)!r}"
        raise UserFacingError(
            f"EMBEDDED_POSTGRES_DIR is {str(folder)!r}, {what} is not a folder. Name a folder, or one that can be created."
        )


def require_trusted(folder: Path) -> None:
    """Raise UserFacingError if another account owns, can write or can exchange the folder: it could put data or access rules there."""
    folder = BASE_DIR / folder  # not resolved, because the links on the way are checked too
    if reason := distrust_reason(folder):
        raise UserFacingError(
            f"EMBEDDED_POSTGRES_DIR is {str(folder)!r}, {reason}: no server was used. Only you or root may own and write it."
            " Correct its owner and mode, or name another folder."
        )


def possible_files(folder: Path) -> list[Files]:
    """Return the files of each place where this account may have started a server for ``folder``, also with earlier permissions."""
    candidates = [Files(_absolute(folder))]
    if os.geteuid() == 0 and _is_root_owned(fallback_directory()):
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
    _create_root_owned(home)
    with locked(home / "lock"):
        return copy_binaries(binaries, home)


def _fallback_files(folder: Path) -> Files:
    return Files(fallback_directory() / f"postgres-{_hash(folder)}")


def _create_root_owned(home: Path) -> None:
    """Create ``home`` with mode 0755. All accounts can write in its parent, so another account may have created it: then it is not used."""
    try:
        _make_open(home)
    except FileExistsError:
        if not _is_root_owned(home):
            raise UserFacingError(
                f"The embedded PostgreSQL needs {home}, but it is not a folder that only root can write."
                " Remove it, or set DATABASE_URL to a server."
            ) from None


def _is_root_owned(home: Path) -> bool:
    """Return whether ``home`` is a folder, and not a link, that only root can write."""
    try:
        found = home.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not stat.S_IMODE(found.st_mode) & 0o022


def _make_open(folder: Path, **options: bool) -> None:
    """Create ``folder`` with mode 0755 from the start, whatever the umask: another command may be checking whether the account can enter it.

    An existing folder stays unchanged.
    """
    before = os.umask(0o022)
    try:
        folder.mkdir(**options)
    finally:
        os.umask(before)


def _can_enter(account: Account, folder: Path) -> bool:
    """Return whether ``account`` can enter ``folder``, or its nearest existing parent."""
    return _can(account, 'cd -- "$1"', next(path for path in (folder, *folder.parents) if path.exists()))


def _can_run(account: Account, binaries: Binaries) -> bool:
    library, share = (binaries.home / part for part in PARTS[1:3])
    return _can(account, 'test -x "$1" && test -r "$2" && test -r "$3"', binaries.path("postgres"), library, share)


def _can(account: Account, script: str, *paths: Path) -> bool:
    """Run ``script`` as ``account`` and return whether it succeeds: file modes alone do not decide what an account can reach."""
    command = ["/bin/sh", "-c", script, "sh", *map(str, paths)]
    try:
        tried = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account.popen_arguments())  # noqa: S603  # our own words
    except OSError as error:
        raise UserFacingError(
            f"PostgreSQL does not run as root, and root may not become {account.name!r} here ({error.strerror})."
            " Run the command as another account, or set DATABASE_URL to a server."
        ) from None
    return tried.returncode == 0


def _absolute(folder: Path) -> Path:
    return (BASE_DIR / folder).resolve()


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
