"""Read every byte of a backup, and compare it with the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from backups.destinations.destination import Destination
from backups.listing import manifest_in
from backups.manifest import File, Manifest
from backups.streams.keys import Identity
from backups.streams.load import load
from backups.streams.stored_file import CHUNK_BYTES, Measure, StoredFile
from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError

if TYPE_CHECKING:
    from privacy.ledger.signing import VerifyingKeys


@dataclass(frozen=True, slots=True)
class Verified:
    """``is_decrypted`` says whether the content was compared too. An encrypted backup needs an identity for that."""

    manifest: Manifest
    is_decrypted: bool


def verify_backup(
    destination: Destination, name: str, keys: VerifyingKeys, identities: Sequence[Identity], report: Report = ignore_progress
) -> Verified:
    """Check the signature of the manifest, and the size and both checksums of each file. The content of an encrypted file needs ``identities``.

    Raise UserFacingError, which names the file, at the first difference, and StoreUnavailable.
    """
    manifest = manifest_in(destination, name, keys)
    is_decrypted = bool(identities) or not manifest.is_encrypted
    done = 0
    for file in manifest.files:
        expected = StoredFile(file.size, file.sha256, file.plain_size, file.plain_sha256)
        with destination.read(name, file.name) as source:
            if is_decrypted:
                load(source, cast("BinaryIO", _Nowhere()), identities, expected, name=file.name)
            else:
                _compare(source, file)
        done += file.size
        report(done, sum(one.size for one in manifest.files))
    return Verified(manifest, is_decrypted)


def _compare(source: BinaryIO, file: File) -> None:
    found = Measure()
    while piece := source.read(CHUNK_BYTES):
        found.add(piece)
        if found.size > file.size:
            break
    if (found.size, found.sha256) != (file.size, file.sha256):
        raise UserFacingError(f"{file.name!r} is damaged: its checksum is not that of the manifest. Use another backup.")


class _Nowhere:
    def write(self, data: bytes) -> int:
        return len(data)
