"""Delete the files of a user who is erased, before the rows with their addresses go."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

from findme.core.errors import StoreUnavailable, one_line
from privacy.audit import OutcomeUnknown
from privacy.file_stores.addresses import Elsewhere
from privacy.file_stores.stored_file import StoredFile, locate
from privacy.registry import registry


class FilesRemain(OutcomeUnknown, StoreUnavailable):
    """A file store did not delete a file, after the ledger had the erasure."""


def stored_files(user_id: UUID, held: Collection[str] = ()) -> Iterator[tuple[str, StoredFile]]:
    """Yield address and file of each file that a store has, except those of the sections ``held``. An address comes once."""
    seen: set[str] = set()
    for owner in registry.owners:
        if owner.section in held:
            continue
        for address in owner.files(user_id):
            if address not in seen:
                seen.add(address)
                file = locate(address)
                if not isinstance(file, Elsewhere):
                    yield address, file


def require_file_stores(user_id: UUID, held: Collection[str] = ()) -> None:
    """Raise StoreUnavailable if a store that has files of the user cannot be reached. Call this before anything is recorded."""
    asked: set[str] = set()
    for _, file in stored_files(user_id, held):
        if file.store.url not in asked:
            asked.add(file.store.url)
            file.size()


def delete_files(user_id: UUID, held: Collection[str] = (), *, known: Collection[str] = ()) -> tuple[set[str], int]:
    """Delete the files except those with the addresses ``known``, and read back that they are gone.

    Return the addresses, and the number of files that existed. Raise FilesRemain: a further call deletes the rest.
    """
    addresses: set[str] = set()
    deleted = 0
    for address, file in list(stored_files(user_id, held)):
        if address in known:
            continue
        try:
            deleted += file.delete()
        except StoreUnavailable as error:
            raise FilesRemain(
                f"{one_line(error)} PostgreSQL is unchanged, and {deleted} of the user's files are deleted. Run this again, or leave it to"
                " manage.py process_requests."
            ) from error
        addresses.add(address)
    return addresses, deleted
