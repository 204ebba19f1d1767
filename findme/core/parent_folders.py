"""Check whether another account can replace a folder.

It can if it may rename an entry of a parent folder, or change a link in the path.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = 0
CODE_DIR = Path(__file__).resolve().parents[2]
"""The folder with the package: the checkout, or the site-packages of a wheel."""
TOP = Path("/")
MOST_LINKS = 40
"""Linux follows at most 40 links in one path."""
ACCESS_LIST = "system.posix_acl_access"


def exchange_reason(folder: Path) -> str | None:
    """Return which account can replace ``folder``, with the command that prevents it, or None if none can.

    The reason is the end of a sentence. Raises OSError for a folder that cannot be read.
    """
    for parent, found in _path_lookups(folder):
        if reason := _reason(parent, found):
            return reason
    return None


def account_name(uid: int) -> str:
    """Return the quoted name of the account, or its number if it has no name."""
    try:
        return repr(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return f"user id {uid}"


def _path_lookups(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each folder and each link that the system reads to find ``folder``, starting at the root.

    Ends at the first name that does not exist.
    """
    here, names, links = Path("/"), _names_in(folder.absolute()), 0
    while names:
        above = here.lstat()
        if not stat.S_ISDIR(above.st_mode):
            return
        yield here, above
        name = names.pop()
        entry = here.parent if name == ".." else here / name
        try:
            found = entry.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        if not stat.S_ISLNK(found.st_mode):
            here = entry
            continue
        yield entry, found
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
        target = entry.readlink()
        here = Path("/") if target.is_absolute() else here
        names += _names_in(target)


def _names_in(path: Path) -> list[str]:
    """Return the names in ``path`` in reverse order."""
    return [name for name in reversed(path.parts) if name != path.anchor]


def _reason(path: Path, found: os.stat_result) -> str | None:
    is_link = stat.S_ISLNK(found.st_mode)
    if found.st_uid not in _trusted_accounts():
        change = "chown -h" if is_link else "chown"
        what = f"the link {str(path)!r} on the way" if is_link else f"its parent {str(path)!r}"
        return f"and {what} belongs to {account_name(found.st_uid)}, who can replace it (as root: {change} root {shlex.quote(str(path))})"
    if is_link or found.st_mode & stat.S_ISVTX:
        # In a sticky folder, only root, its owner and an entry's owner can rename the entry.
        return None
    others = "".join(letter for letter, writes in (("g", _group_can_write(path, found)), ("o", found.st_mode & stat.S_IWOTH)) if writes)
    if not others:
        return None
    mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
    return f"and its parent {str(path)!r} is writable by other accounts ({mode}; type: chmod {others}-w {shlex.quote(str(path))})"


def _trusted_accounts() -> frozenset[int]:
    """Return the user ids of root, this account, the owner of the code, and the owner of ``/``.

    The owner of the code can run anything as this account anyway: root may work in the checkout of another account.
    The owner of ``/`` can replace everything. In a container this may be an account that has no user id there.
    A process that became another account after it had started may not reach the code: then its owner is not trusted.
    """
    accounts = {ROOT, os.geteuid(), TOP.stat().st_uid}
    with suppress(PermissionError):
        accounts.add(CODE_DIR.stat().st_uid)
    return frozenset(accounts)


def _group_can_write(folder: Path, found: os.stat_result) -> bool:
    """Return whether an account that is not trusted may write ``folder`` as a member of the group.

    An access control list may give the right to more accounts than the group.
    """
    if not found.st_mode & stat.S_IWGRP:
        return False
    return _has_access_list(folder) or not _is_private(found.st_gid)


def _is_private(gid: int) -> bool:
    """Return whether the group has members and all of them are trusted accounts.

    Only the accounts that this machine lists are known.
    """
    try:
        listed = grp.getgrgid(gid).gr_mem
        members = {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == gid} | {pwd.getpwnam(name).pw_uid for name in listed}
    except KeyError:
        return False
    return bool(members) and members <= _trusted_accounts()


def _has_access_list(folder: Path) -> bool:
    try:
        return ACCESS_LIST in os.listxattr(folder)
    except OSError as error:
        return error.errno not in (errno.ENOTSUP, errno.ENOSYS)
