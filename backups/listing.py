"""The backups in a destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction

from backups.destinations.destination import MANIFEST, Destination
from backups.manifest import LARGEST, Manifest, read_manifest
from backups.models import Backup
from backups.streams.stored_file import CHUNK_BYTES
from findme.core.db.expressions import ClockTimestamp
from findme.core.errors import StoreUnavailable, UserFacingError

if TYPE_CHECKING:
    from privacy.ledger.signing import VerifyingKeys


@dataclass(frozen=True, slots=True)
class Listed:
    """A folder of the destination.

    ``manifest`` is None without a manifest that can be read: the backup was not finished, or something else is there. ``problem`` says why a restore would fail, empty if no problem is known.
    ``size`` is that of its files in bytes.
    """

    name: str
    manifest: Manifest | None
    problem: str
    size: int

    @property
    def is_good(self) -> bool:
        return self.manifest is not None and not self.problem


def list_backups(destination: Destination, keys: VerifyingKeys) -> list[Listed]:
    """Return what is in the destination, the newest first. It needs no database.

    Of a backup only the manifest is read, and its signature checked: ``verify_backup`` reads every byte. Raise UserFacingError and StoreUnavailable.
    """
    found = [_listed(destination, name, keys) for name in destination.names()]
    return sorted(found, key=_newest_first, reverse=True)


def manifest_in(destination: Destination, name: str, keys: VerifyingKeys) -> Manifest:
    """Return the manifest of the backup ``name``. Raise UserFacingError if there is none, or if it is not that of this backup."""
    size = destination.files(name).get(MANIFEST)
    if size is None:
        raise UserFacingError(
            f"There is no backup {name!r} in {destination.name!r}, or it was not finished: it has no manifest. See manage.py list_backups."
        )
    if size > LARGEST:
        raise UserFacingError(f"The manifest of {name!r} has {size:,} bytes, so it is none. Use another backup.")
    with destination.read(name, MANIFEST) as file:
        manifest = read_manifest(b"".join(iter(lambda: file.read(CHUNK_BYTES), b"")), keys)
    if manifest.name != name:
        raise UserFacingError(f"The manifest of {name!r} is that of the backup {manifest.name!r}. Give the folder its name back.")
    return manifest


def _listed(destination: Destination, name: str, keys: VerifyingKeys) -> Listed:
    files = destination.files(name)
    size = sum(files.values())
    if MANIFEST not in files:
        return Listed(name, None, "It has no manifest: it is not finished yet, or is no backup.", size)
    try:
        manifest = manifest_in(destination, name, keys)
    except StoreUnavailable:
        raise
    except UserFacingError as error:
        return Listed(name, None, str(error), size)
    return Listed(name, manifest, _problem(manifest, files), size)


def _problem(manifest: Manifest, files: dict[str, int]) -> str:
    for file in manifest.files:
        if file.name not in files:
            return f"Its file {file.name!r} is missing."
        if files[file.name] != file.size:
            return f"Its file {file.name!r} has {files[file.name]:,} bytes instead of {file.size:,}."
    return ""


def _newest_first(one: Listed) -> tuple[str, str]:
    return (one.manifest.taken_at.isoformat() if one.manifest else "", one.name)


def list_recorded(destination: Destination, keys: VerifyingKeys) -> list[Listed]:
    """Return the same, and make the rows of the table ``backups`` agree with it. A backup that is damaged counts too: its data exist."""
    found = list_backups(destination, keys)
    rows = [
        Backup(
            destination=destination.name,
            name=one.name,
            database=one.manifest.database.identity,
            taken_at=one.manifest.taken_at,
            ended_at=one.manifest.ended_at,
            is_complete=one.manifest.is_complete and not one.problem,
            is_encrypted=one.manifest.is_encrypted,
            size=one.size,
            seen_at=ClockTimestamp(),
        )
        for one in found
        if one.manifest is not None
    ]
    with transaction.atomic():
        gone = Backup.objects.filter(destination=destination.name, gone_at__isnull=True).exclude(name__in=[row.name for row in rows])
        gone.update(gone_at=ClockTimestamp())
        Backup.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["destination", "name"],
            update_fields=["database", "taken_at", "ended_at", "is_complete", "is_encrypted", "size", "seen_at", "gone_at"],
        )
    return found
