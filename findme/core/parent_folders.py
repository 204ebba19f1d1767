"""Whether another account can exchange a folder: it can if it may rename an entry of a folder above, or change a link on the way."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

ROOT = 0
CODE_DIR = Path(__file__).resolve().parents[2]
"""The folder that has the package: the checkout, or the site-packages of a wheel."""
TOP = Path("/")
MOST_LINKS = 40
"""As many as Linux follows in one path."""
ACCESS_LIST = "system.posix_acl_access"


def exchange_reason(folder: Path) -> str | None:
    """Return which account can exchange ``folder``, as the end of a sentence, with the command that prevents it; None if none can.

    Raises OSError for a folder that cannot be looked at.
    """
    for parent, found in _way_to(folder):
        if reason := _reason(parent, found):
            return reason
    return None


def account_name(uid: int) -> str:
    """Return the quoted name of the account, or its number if it has no name."""
    try:
        return repr(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return f"user id {uid}"


def _way_to(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Each folder in which a name is looked up on the way to ``folder``, from the root on, and each link. It ends where nothing exists."""
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
    """The names of ``path``, the first one last."""
    return [name for name in reversed(path.parts) if name != path.anchor]


def _reason(path: Path, found: os.stat_result) -> str | None:
    is_link = stat.S_ISLNK(found.st_mode)
    if found.st_uid not in _trusted_accounts():
        change = "chown -h" if is_link else "chown"
        what = f"the link {str(path)!r} on the way" if is_link else f"its parent {str(path)!r}"
        return f"and {what} belongs to {account_name(found.st_uid)}, who can replace it (as root: {change} root {shlex.quote(str(path))})"
    if is_link or found.st_mode & stat.S_ISVTX:
        return None  # in a sticky folder only root, its owner and an entry's owner can rename the entry
    others = "".join(letter for letter, writes in (("g", _group_can_write(path, found)), ("o", found.st_mode & stat.S_IWOTH)) if writes)
    if not others:
        return None
    mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
    return f"and its parent {str(path)!r} is writable by other accounts ({mode}; type: chmod {others}-w {shlex.quote(str(path))})"


def _trusted_accounts() -> frozenset[int]:
    """Root, this account, the owner of the code that runs, who can run anything as this account anyway (root works in a user's checkout), and the
    owner of ``/``, who can exchange everything: in a container that may be an account without a number there."""
    return frozenset({ROOT, os.geteuid(), CODE_DIR.stat().st_uid, TOP.stat().st_uid})


def _group_can_write(folder: Path, found: os.stat_result) -> bool:
    """Whether the group may contain an account that is not trusted. An access control list may name more accounts than the group."""
    if not found.st_mode & stat.S_IWGRP:
        return False
    return _has_access_list(folder) or not _is_private(found.st_gid)


def _is_private(gid: int) -> bool:
    """Whether the group is the primary group of a trusted account and has no other member, as far as this machine lists its accounts."""
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
