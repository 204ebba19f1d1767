"""The folder of the encrypted files, ``EXPORTS_DIR``. All processes that make, serve or erase exports share it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from django.conf import settings

from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.folders import make_private_folder

ENDING = ".export"


def exports_folder() -> Path:
    """Return the folder. Raise UserFacingError if it is not set, and StoreUnavailable if it cannot be reached.

    A folder that is not mounted must not look like one without exports, so only the default one is created.
    """
    if not settings.EXPORTS_DIR:
        raise UserFacingError("EXPORTS_DIR is not set: nothing was changed. Set it to a folder that all processes of FindMe share.")
    folder = Path(settings.EXPORTS_DIR)
    with reached():
        if settings.PRIVACY_FILES_CREATED and folder.parent == Path(settings.PRIVACY_FILES_DIR):
            make_private_folder(folder)
        if not folder.is_dir():
            raise NotADirectoryError(20, os.strerror(20))
    return folder


def path_of(export_id: UUID) -> Path:
    return exports_folder() / f"{export_id}{ENDING}"


def delete_file(export_id: UUID) -> bool:
    """Delete the file, and read back that it is gone. Return whether there was one. Raise as ``exports_folder`` does."""
    path = path_of(export_id)
    with reached():
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path.exists():
            raise OSError(17, os.strerror(17))
    return True


def stored_ids() -> Iterator[UUID]:
    """Yield the ids of all files. A file with another name is not FindMe's."""
    with reached():
        names = [path.name for path in exports_folder().iterdir()]
    for name in names:
        try:
            export_id = UUID(name.removesuffix(ENDING))
        except ValueError:
            continue
        if name == f"{export_id}{ENDING}":
            yield export_id


@contextmanager
def reached() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"The folder of the exports, {settings.EXPORTS_DIR!r}, cannot be used ({error.strerror}). Check EXPORTS_DIR and its access rights."
        ) from error
