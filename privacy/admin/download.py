"""Export of one or more users as a download."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO, Any
from uuid import UUID
from zipfile import ZIP_STORED, ZipFile

from django.http import FileResponse

from findme.core.files import unnamed_file
from privacy.actions.export import write_zip
from privacy.admin.actions import EXPORT
from privacy.admin.execution import Result, run_for_each


def export_for(actor: Any, user_ids: list[UUID]) -> tuple[FileResponse | None, list[Result[int]]]:
    """Return the zip as a response, or None if no export succeeded, and the results with the number of files per user.

    The zip is an unnamed temporary file with mode 0600, which disappears after the response.
    """
    file = unnamed_file(Path(tempfile.gettempdir()))  # closed by the response
    try:
        results = _one(actor, user_ids[0], file) if len(user_ids) == 1 else _several(actor, user_ids, file)
    except BaseException:
        file.close()
        raise
    if not any(result.done for result in results):
        file.close()
        return None, results
    file.seek(0)
    return _as_download(file, user_ids), results


def _one(actor: Any, user_id: UUID, file: IO[bytes]) -> list[Result[int]]:
    return run_for_each(EXPORT, lambda one: len(write_zip(one, file, actor_id=actor.pk)), [user_id])


def _several(actor: Any, user_ids: list[UUID], file: IO[bytes]) -> list[Result[int]]:
    """Write a zip with one zip per user, so that each user can receive a separate file."""
    with ZipFile(file, "w", ZIP_STORED) as archive:

        def add(user_id: UUID) -> int:
            with unnamed_file(Path(tempfile.gettempdir())) as temporary:
                files = write_zip(user_id, temporary, actor_id=actor.pk)
                temporary.seek(0)
                with archive.open(f"{user_id}.zip", "w", force_zip64=True) as member:
                    shutil.copyfileobj(temporary, member)
            return len(files)

        results = run_for_each(EXPORT, add, user_ids)
        missing = [f"{result.user_id}: {result.reason}\n" for result in results if result.done is None]
        if missing:
            archive.writestr("NOT_EXPORTED.txt", "".join(missing))
    return results


def _as_download(file: IO[bytes], user_ids: list[UUID]) -> FileResponse:
    name = str(user_ids[0]) if len(user_ids) == 1 else f"{len(user_ids)}-users"
    response = FileResponse(file, as_attachment=True, filename=f"personal-data-{name}.zip")
    response["Cache-Control"] = "no-store"
    return response
