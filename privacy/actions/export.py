"""Export all data about one user as JSON files with their schemas (the guide, "Data Export"; GDPR, articles 15 and 20)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from django.db import connection, transaction

from findme.core.errors import UserFacingError
from findme.core.files import atomic_write, require_writable
from privacy.actions.stores import store_sessions
from privacy.archive.files import SECTION as FILES
from privacy.archive.files import Addresses, write_files
from privacy.archive.pseudonyms import Pseudonyms
from privacy.archive.readme import readme
from privacy.archive.zip_file import Archive, ExportedFile, Section
from privacy.audit import Action, record, record_failure_of
from privacy.models import ErasedUser
from privacy.registry import PersonalDataOwner, registry
from privacy.users import require_user, user_exists


@dataclass(frozen=True, slots=True)
class Exported:
    """The zip file at ``path``: ``size`` bytes, mode 0600. ``files`` does not include the manifest."""

    user_id: UUID
    path: Path
    size: int
    files: tuple[ExportedFile, ...]


def export_user_data(user_id: UUID, destination: Path, *, force: bool = False, actor_id: UUID | None = None) -> Exported:
    """Write the zip to ``destination``, which appears when it is complete.

    Raise UserFacingError for an unknown user, an existing file without ``force`` or an unusable path, and StoreUnavailable. Then there is no file.
    """
    with record_failure_of(Action.EXPORT, user_id, actor_id=actor_id), atomic_write(destination, force=force) as file:
        files = write_archive(user_id, file, actor_id)
        size = file.tell()
    return Exported(user_id, destination, size, files)


def write_zip(user_id: UUID, fileobj: IO[bytes], *, actor_id: UUID | None = None) -> tuple[ExportedFile, ...]:
    """Write the zip to ``fileobj`` while the data is read. Call this outside a transaction, because it opens one.

    The audit log has the export when this returns: do not deliver the file before. If this raises, the file is not a valid zip. Raise
    UserFacingError for an unknown user, and StoreUnavailable.
    """
    with record_failure_of(Action.EXPORT, user_id, actor_id=actor_id):
        return write_archive(user_id, fileobj, actor_id)


def write_archive(user_id: UUID, fileobj: IO[bytes], actor_id: UUID | None) -> tuple[ExportedFile, ...]:
    """Write the zip as ``write_zip`` does, but leave the record of a failure to the caller.

    The rows are read in one transaction, and the files after it, because they can take long.
    """
    with closing(Addresses()) as addresses, Archive(fileobj, user_id) as archive:
        with _sections(user_id) as sections:
            was_erased = is_erased(user_id)
            archive.write("README.html", [readme(user_id, archive.made_at).encode()])
            written = [archive.write_section(owner.section, section, owner.export_schema()) for owner, section in sections]
            for owner in registry.owners:
                addresses.add(owner.section, owner.files(user_id, exported=True))
        written.append(write_files(archive, addresses))
        if not user_exists(user_id) or is_erased(user_id) != was_erased:
            raise erased_meanwhile(user_id)
    record(Action.EXPORT, user_id, actor_id=actor_id)
    return tuple(written)


def is_erased(user_id: UUID) -> bool:
    return ErasedUser.objects.filter(pk=user_id).exists()


def erased_meanwhile(user_id: UUID) -> UserFacingError:
    return UserFacingError(f"The user {str(user_id)!r} was erased or anonymized meanwhile: no export was made.")


def export_sections(user_id: UUID, *, actor_id: UUID | None = None) -> dict[str, Any]:
    """Return the data by section, as lists and dicts with dates, times and UUIDs. Raise as ``write_zip`` does."""
    with record_failure_of(Action.EXPORT, user_id, actor_id=actor_id):
        with _sections(user_id) as sections:
            exported = {owner.section: section if isinstance(section, Mapping) else list(section) for owner, section in sections}
        record(Action.EXPORT, user_id, actor_id=actor_id)
    return exported


def preview_export(user_id: UUID, destination: Path, *, force: bool = False) -> dict[str, int]:
    """Return the number of entries by file that ``export_user_data`` would write. Raise as it does."""
    require_writable(destination, force=force)
    return count_entries(user_id)


def count_entries(user_id: UUID) -> dict[str, int]:
    """Return the number of entries by file that ``write_zip`` would write. Raise as it does."""
    with _sections(user_id) as sections:
        counts = {f"{owner.section}.json": 1 if isinstance(section, Mapping) else sum(1 for _ in section) for owner, section in sections}
        files = sum(1 for owner in registry.owners for _ in owner.files(user_id, exported=True))
    return {**counts, f"{FILES}.json": files}


@contextmanager
def _sections(user_id: UUID) -> Iterator[Iterator[tuple[PersonalDataOwner, Section]]]:
    """Yield an iterator that reads each section on demand, from one snapshot of PostgreSQL and with open store sessions.

    Other persons have pseudonyms of this export.
    """
    with store_sessions(), _consistent_snapshot():
        require_user(user_id)
        pseudonyms = Pseudonyms.for_user(user_id)
        yield ((owner, pseudonyms.in_section(owner, owner.export(user_id))) for owner in registry.owners)


@contextmanager
def _consistent_snapshot() -> Iterator[None]:
    """Open a read-only transaction that sees all tables at one point in time."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
