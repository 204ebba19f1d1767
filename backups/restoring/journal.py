"""The journal of a restore: a file outside both stores that says what a killed restore has left.

Each change is durable before the restore continues. The file has names and ids, no personal data and no secret.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from django.conf import settings
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from backups.destinations.new_file import sync_folder
from backups.manifest import STRICT, Count, Time
from findme.core.errors import UserFacingError
from findme.core.file_lock import lock_file
from findme.core.folders import distrust_reason, distrusted_file

FORMAT = 1
"""Increase it when an earlier release would misunderstand the journal."""
LARGEST = 1_000_000
FOLDER = re.compile(r"findme-restore-[0-9a-f]{16}")
"""The name of a temporary folder. No other folder is ever removed."""
HOW_TO_CHECK = "docs/backups.md#the-switch says how to check the databases before you delete the file."

Name = Annotated[str, StringConstraints(min_length=1)]


@dataclass(frozen=True, slots=True, config=STRICT)
class Entry:
    """What one restore has begun. A name is noted before the thing is created, so the thing may not exist.

    ``live_oid`` is None if the restore creates the database. ``old_collection`` is the one to which ``alias`` pointed, None if there was no alias.
    """

    format: int
    begun_at: Time
    backup: str
    phase: Literal["preparing", "switching"]
    system_identifier: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]
    live_name: Name
    live_oid: Annotated[int, Field(ge=1, lt=2**32)] | None
    scratch_name: Name | None = None
    scratch_oid: Count | None = None
    old_name: Name | None = None
    alias: Name | None = None
    old_collection: Name | None = None
    new_collection: Name | None = None
    folders: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"the restore of {self.backup!r} that began at {self.begun_at:%Y-%m-%d %H:%M:%S} UTC"


_ADAPTER: TypeAdapter[Entry] = TypeAdapter(Entry)


class Journal:
    """The journal in the file ``path``. The process holds its lock (``open_journal``)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entry = _read(path)
        """What a restore has left: None if each restore has ended."""

    def current(self) -> Entry:
        """Return the entry of the restore that runs."""
        if self.entry is None:
            raise ValueError("No restore has begun.")
        return self.entry

    def begin(self, *, backup: str, system_identifier: str, live_name: str, live_oid: int | None) -> Entry:
        """Note that a restore begins. What an earlier one has left must be finished or undone before."""
        if self.entry is not None:
            raise ValueError("The journal still has a restore.")
        entry = Entry(FORMAT, datetime.now(UTC), backup, "preparing", system_identifier, live_name, live_oid)
        self._write(entry)
        return entry

    def note(self, **changes: Any) -> Entry:
        """Change fields of the entry, durably. Note the name of a thing before you create it."""
        entry = replace(self.current(), **changes)
        self._write(entry)
        return entry

    def end(self) -> None:
        """Remove the entry with its file: the restore has ended."""
        with _explained(self.path):
            for path in (self.path, _unfinished(self.path)):
                path.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        self.entry = None

    @contextmanager
    def temporary_folder(self, parent: Path) -> Iterator[Path]:
        """Create a folder of mode 0700 in ``parent``, and remove it after the block. If the process is killed, ``remove_folders`` does."""
        folder = parent.absolute() / f"findme-restore-{secrets.token_hex(8)}"
        self.note(folders=(*self.current().folders, str(folder)))
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            _remove_folder(folder)
            if self.entry is not None:
                self.note(folders=tuple(name for name in self.entry.folders if name != str(folder)))

    def remove_folders(self) -> None:
        """Remove the temporary folders that the entry names."""
        for name in self.current().folders:
            _remove_folder(Path(name))

    def _write(self, entry: Entry) -> None:
        content = json.dumps(_ADAPTER.dump_python(entry, mode="json"), indent=2, ensure_ascii=False).encode() + b"\n"
        new = _unfinished(self.path)
        with _explained(self.path):
            # A killed process may have left one. A new file has no other mode, and no reader.
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o600)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            new.replace(self.path)
            sync_folder(self.path.parent)
        self.entry = entry


@contextmanager
def open_journal(path: Path | None = None) -> Iterator[Journal]:
    """Yield the journal of ``BACKUP_JOURNAL``, and hold its lock: a second restore on this machine ends at once.

    Raises UserFacingError if the file or its folder cannot be used.
    """
    path = (Path(settings.BACKUP_JOURNAL) if path is None else path).absolute()
    _require_folder(path)
    lock = path.with_name(f"{path.name}.lock")

    def busy() -> UserFacingError:
        return UserFacingError(f"Another restore runs on this machine and holds {str(lock)!r}: nothing was changed. Wait until it ends.")

    with ExitStack() as stack:
        with _explained(lock, "opened"):
            stack.enter_context(lock_file(lock, 0, busy))
        yield Journal(path)


def _require_folder(path: Path) -> None:
    """Raise UserFacingError unless the journal can be trusted and is outside both stores."""
    folder = path.parent
    begin = f"BACKUP_JOURNAL is {str(path)!r}"
    with _explained(path, "read"):
        if not folder.is_dir():
            raise UserFacingError(f"{begin}, and there is no folder {str(folder)!r}: nothing was changed. Create it: mkdir -m 700 {folder}")
        if path.is_dir():
            raise UserFacingError(f"{begin}, which is a folder: nothing was changed. Name a file.")
        for store in (settings.EMBEDDED_POSTGRES_DIR, settings.QDRANT_PATH):
            if path.resolve().is_relative_to(Path(store).resolve()):
                raise UserFacingError(f"{begin}, in the folder of a store: nothing was changed. Name a file outside {store!r}.")
        reason = distrust_reason(folder) or distrusted_file(folder, (path.name, f"{path.name}.lock"))
        if reason:
            raise UserFacingError(
                f"{begin}, in {str(folder)!r}, {reason}: nothing was changed. Only you or root may own and write it: correct that, or name another file."
            )


def _read(path: Path) -> Entry | None:
    with _explained(path, "read"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(LARGEST)
    try:
        fields = json.loads(content)
        found = fields["format"]
        if type(found) is int and found > FORMAT:
            raise UserFacingError(
                f"A later release of FindMe has written the journal {str(path)!r}: nothing was changed. Finish its restore with that release."
            )
        return _ADAPTER.validate_json(content)
    except (ValueError, TypeError, KeyError, RecursionError, ValidationError):
        raise UserFacingError(f"The journal {str(path)!r} is damaged: nothing was changed. {HOW_TO_CHECK}") from None


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


@contextmanager
def _explained(path: Path, verb: str = "written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserFacingError(
            f"The journal {str(path)!r} cannot be {verb}: {error.strerror or error}. Correct this, or name another file in BACKUP_JOURNAL."
        ) from error


def _remove_folder(folder: Path) -> None:
    """Remove a temporary folder with its content. Do nothing if it is gone or no folder of this account."""
    with suppress(FileNotFoundError):
        found = folder.lstat()
        if FOLDER.fullmatch(folder.name) and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            shutil.rmtree(folder)
