"""Who PostgreSQL runs as: the account of the command, or, since PostgreSQL refuses to run as root, an unprivileged one that is already there."""

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
        """What ``subprocess`` needs to run a program as this account, with nothing of the caller's environment, folder or terminal.

        The working folder is ``/``: PostgreSQL's programs end where they cannot read the one that they begin in.
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

    def give(self, folder: Path) -> None:
        """Make a new FOLDER of ours the account's."""
        if not self.is_ours:
            os.chown(folder, self.uid, self.gid)


def account_for(data: Path) -> Account:
    """Whoever owns the DATA folder or, where there is none yet, whoever runs this command; for root, an unprivileged account.

    Raises UserFacingError where the folder is another's, where there is no such account, and where root owns the data.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise UserFacingError(
                f"{data} belongs to {_name(owner)!r}: run this as that user or as root, or give a folder of your own in EMBEDDED_POSTGRES_DIR."
            )
        return _account(os.geteuid())
    if owner == 0:
        raise UserFacingError(
            f"{data} belongs to root, and PostgreSQL does not run as root: give the folder to another account, for instance {UNPRIVILEGED[0]!r}."
        )
    return _account(owner) if owner is not None else _unprivileged()


def root_name() -> str:
    return _name(0)


def _unprivileged() -> Account:
    for entry in map(_entry_of, UNPRIVILEGED):
        if entry is not None and entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise UserFacingError(
        f"PostgreSQL does not run as root, and this machine has no account {' or '.join(map(repr, UNPRIVILEGED))} to run it as:"
        " run this as an ordinary user, or give the address of a server in DATABASE_URL."
    )


def _entry_of(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _account(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # PostgreSQL asks the machine for names, of itself and of who connects
        raise UserFacingError(
            f"The user id {uid} has no name on this machine, and PostgreSQL needs one: add it to /etc/passwd, or give the address of a server in DATABASE_URL."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
