"""Checks that FindMe can trust a folder and its files.

A trusted folder belongs to this account or to root, and no other account can change its content.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from findme.core.parent_folders import account_name, exchange_reason

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
PASSABLE_FOR_OTHERS = stat.S_IXGRP | stat.S_IXOTH
READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private_folder(folder: Path) -> None:
    """Create the folder with mode 0700, and missing parents with mode 0755, whatever the umask is.

    Existing folders keep their mode.
    """
    for parent in reversed([parent for parent in folder.parents if not parent.exists()]):
        parent.mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def distrust_reason(folder: Path) -> str | None:
    """Return why the files in ``folder`` cannot be trusted, or None if they can.

    The reason is the end of a sentence that names the folder. The parents are checked too: an account that can rename an entry of a parent can
    replace ``folder`` after this check and before it is opened. For a missing folder, only its existing parents are checked.
    Raises OSError for a folder that cannot be read.
    """
    try:
        found = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        found = None
    if found is not None and (reason := _reason(found)):
        return f"which {reason}"
    return exchange_reason(folder)


def distrusted_file(folder: Path, names: tuple[str, ...]) -> str | None:
    """Return why the entries ``names`` of a trusted ``folder`` cannot be trusted, or None if they can.

    Checks the content of folders too. A link is never trusted. Files of this account are made readable for this account only.
    The reason is the end of a sentence, as in ``distrust_reason``.
    """
    passable = bool(folder.stat().st_mode & PASSABLE_FOR_OTHERS)
    for path in _with_content(folder, names):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(found.st_mode):
            return f"and {str(path)!r} is a link"
        if reason := _reason(found, ignore_mode=not passable):
            return f"and {str(path)!r} {reason}"
        if found.st_uid == os.geteuid() and found.st_mode & READABLE_BY_OTHERS:
            path.chmod(0o700 if stat.S_ISDIR(found.st_mode) else 0o600)
    return None


def _with_content(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        yield folder / name
        for inside, folders, files in os.walk(folder / name):
            yield from (Path(inside, entry) for entry in (*folders, *files))


def _reason(found: os.stat_result, *, ignore_mode: bool = False) -> str | None:
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to {account_name(found.st_uid)}"
    if found.st_mode & WRITABLE_BY_OTHERS and not ignore_mode:
        return f"is writable by other accounts (mode {stat.S_IMODE(found.st_mode):04o})"
    return None
