"""The account that PostgreSQL runs as: that of the command, or for root an existing unprivileged account.

PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from findme.core.errors import UserFacingError

UNPRIVILEGED = ("nobody", "daemon")


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        """Return the ``subprocess`` arguments that run a program as this account, without the caller's environment, folder and terminal.

        The working folder is ``/``: PostgreSQL's programs exit if they cannot read their working folder.
        """
        arguments: dict[str, Any] = {
            "cwd": "/",
            "umask": 0o077,
            "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            "stdin": subprocess.DEVNULL,
        }
        if not self.is_ours:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments

    @property
    def is_ours(self) -> bool:
        return os.geteuid() == self.uid

    def take_ownership(self, folder: Path) -> None:
        """Make this account the owner of a new ``folder``."""
        if not self.is_ours:
            os.chown(folder, self.uid, self.gid)


def account_for(data: Path) -> Account:
    """Return the owner of the folder ``data``. If it does not exist, return the account of this command, or for root an unprivileged one.

    Raises UserFacingError if the folder belongs to another account or to root, or if the account does not exist.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise UserFacingError(
                f"{data} belongs to {_name(owner)!r}: run the command as that account or root, or set EMBEDDED_POSTGRES_DIR to another folder."
            )
        return _account(os.geteuid())
    if owner == 0:
        raise UserFacingError(
            f"{data} belongs to root, and PostgreSQL does not run as root. Change its owner, for example: chown -R {UNPRIVILEGED[0]} {data}"
        )
    return _account(owner) if owner is not None else _unprivileged()


def root_name() -> str:
    return _name(0)


def _unprivileged() -> Account:
    for entry in map(_entry_of, UNPRIVILEGED):
        if entry is not None and entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise UserFacingError(
        f"PostgreSQL does not run as root, and this machine has no account {' or '.join(map(repr, UNPRIVILEGED))}."
        " Run the command as another account, or set DATABASE_URL to a server."
    )


def _entry_of(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _account(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # PostgreSQL looks up the names of its own account and of each client's
        raise UserFacingError(
            f"The user id {uid} has no name on this machine, and PostgreSQL needs one. Add it to /etc/passwd, or set DATABASE_URL to a server."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
