"""Read the files of secret keys."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from findme.core.errors import UserFacingError


def create_in_development(path: Path | None, create: Callable[[Path], object]) -> None:
    """With DEBUG, create the file if it is missing and in the default folder. Another process may create it at the same time."""
    folder = Path(settings.PRIVACY_FILES_DIR)
    if path is None or not settings.PRIVACY_FILES_CREATED or path.parent != folder or path.exists():
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        create(path)
    except OSError as error:
        raise UserFacingError(f"{str(path)!r} cannot be created ({error.strerror}): nothing was changed. Set another path.") from None
    except UserFacingError:
        if not path.exists():
            raise


def require_own_folder(setting: str, path: Path) -> None:
    """Raise UserFacingError if another account could replace a file in the folder: it owns the folder, or may write to it."""
    try:
        found = path.parent.stat()
    except OSError as error:
        raise UserFacingError(
            f"{setting}: the folder {str(path.parent)!r} cannot be used ({error.strerror}): nothing was changed. Create it with mode 700."
        ) from None
    others_write = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (os.geteuid(), 0):
        raise UserFacingError(
            f"{setting}: the folder {str(path.parent)!r} belongs to another account, which could replace the key: nothing was changed. Run this as that"
            " account, or set another path."
        )
    if others_write:
        raise UserFacingError(
            f"{setting}: other accounts can write to the folder {str(path.parent)!r} and replace the key: nothing was changed. Run chmod 700"
            f" {path.parent}."
        )


def read_key_file(setting: str, path: Path | None, creator: str) -> bytes:
    """Return the contents of the file that ``setting`` names.

    Raise UserFacingError if it is not set, missing, unreadable, or readable by other accounts. The error names ``creator``, the command that creates
    the file.
    """
    if path is None:
        raise UserFacingError(f"{setting} is not set: nothing was changed. Run {creator}, and set {setting} to the file.")
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                raise UserFacingError(f"{setting}: other accounts can read {str(path)!r}: nothing was changed. Run chmod 600 {path}.")
            return file.read()
    except FileNotFoundError:
        raise UserFacingError(f"{setting}: there is no file {str(path)!r}: nothing was changed. Restore it, or run {creator}.") from None
    except OSError as error:
        raise UserFacingError(
            f"{setting}: {str(path)!r} cannot be read ({error.strerror}): nothing was changed. Make it readable."
        ) from None
