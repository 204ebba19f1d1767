"""All that is held about one person, in files of JSON (the guide, "Data Export"; GDPR, articles 15 and 20)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from django.db import connection, transaction

from findme.core.files import atomic_write, require_writable
from privacy.actions.archive import ExportedFile, Section, write_archive
from privacy.actions.stores import store_sessions
from privacy.audit import Action, failure_recorded, record
from privacy.people import require_person
from privacy.registry import registry


@dataclass(frozen=True, slots=True)
class Exported:
    """The zip at ``path``: ``size`` bytes, mode 0600, with ``files`` beside the manifest."""

    user_id: UUID
    path: Path
    size: int
    files: tuple[ExportedFile, ...]


def export_person(user_id: UUID, destination: Path, *, force: bool = False, actor_id: UUID | None = None) -> Exported:
    """Write the zip to DESTINATION, which appears when it is whole.

    Raises UserFacingError for somebody unknown, an existing file without FORCE and a path that cannot be used, StoreUnavailable; there is
    no file then.
    """
    with failure_recorded(Action.EXPORT, user_id, actor_id=actor_id), atomic_write(destination, force=force) as file:
        files = _write_zip(user_id, file, actor_id)
        size = file.tell()
    return Exported(user_id, destination, size, files)


def write_zip(user_id: UUID, fileobj: IO[bytes], *, actor_id: UUID | None = None) -> tuple[ExportedFile, ...]:
    """Write the zip to FILEOBJ as it is read; what was written is no zip if this raises. Opens a transaction: call it outside of one.

    The audit log has the export when this returns: do not hand the file over before. Raises UserFacingError for an unknown user,
    StoreUnavailable.
    """
    with failure_recorded(Action.EXPORT, user_id, actor_id=actor_id):
        return _write_zip(user_id, fileobj, actor_id)


def _write_zip(user_id: UUID, fileobj: IO[bytes], actor_id: UUID | None) -> tuple[ExportedFile, ...]:
    with _sections(user_id) as sections:
        files = write_archive(fileobj, user_id, sections)
    record(Action.EXPORT, user_id, actor_id=actor_id)
    return files


def export_sections(user_id: UUID, *, actor_id: UUID | None = None) -> dict[str, Any]:
    """The same in memory: lists and dicts that hold dates, times and UUIDs, by section. Raises as ``write_zip``."""
    with failure_recorded(Action.EXPORT, user_id, actor_id=actor_id):
        with _sections(user_id) as sections:
            exported = {name: section if isinstance(section, Mapping) else list(section) for name, section in sections}
        record(Action.EXPORT, user_id, actor_id=actor_id)
    return exported


def preview_export(user_id: UUID, destination: Path, *, force: bool = False) -> dict[str, int]:
    """What ``export_person`` would write: the number of entries by file. Raises as it does."""
    require_writable(destination, force=force)
    return count_entries(user_id)


def count_entries(user_id: UUID) -> dict[str, int]:
    """The number of entries by file that ``write_zip`` would write now. Raises as it does."""
    with _sections(user_id) as sections:
        return {f"{name}.json": 1 if isinstance(section, Mapping) else sum(1 for _ in section) for name, section in sections}


@contextmanager
def _sections(user_id: UUID) -> Iterator[Iterator[tuple[str, Section]]]:
    """Each section as it is asked for, all in one view of PostgreSQL; the stores are held meanwhile."""
    with store_sessions(), _one_view():
        require_person(user_id)
        yield ((owner.section, owner.export(user_id)) for owner in registry.owners)


@contextmanager
def _one_view() -> Iterator[None]:
    """A transaction that sees every table as it was at one moment, and writes nothing."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
