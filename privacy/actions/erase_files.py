"""Delete the files of a user who is erased or anonymized, before the addresses in the rows go."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

from django.conf import settings

from findme.core.errors import StoreUnavailable, one_line
from privacy.actions.held_rows import files_of_rows
from privacy.actions.holds import active_holds
from privacy.audit import OutcomeUnknown
from privacy.file_stores.addresses import Elsewhere
from privacy.file_stores.stored_file import StoredFile, locate
from privacy.registry import registry


class FilesRemain(OutcomeUnknown, StoreUnavailable):
    """A file store did not delete a file, after the ledger had the erasure."""


def stored_files(user_id: UUID) -> Iterator[tuple[str, StoredFile]]:
    """Yield address and file of each file that a store has, except the files of rows that a hold keeps. An address comes once."""
    if not settings.FILE_STORES:
        return
    held: set[StoredFile | Elsewhere] = set()
    if active_holds(user_id):
        held.update(locate(address) for owner in registry.owners for address in files_of_rows(owner, user_id, is_held=True))
    seen: set[str] = set()
    for owner in registry.owners:
        for address in files_of_rows(owner, user_id, is_held=False):
            if address not in seen:
                seen.add(address)
                file = locate(address)
                if not isinstance(file, Elsewhere) and file not in held:
                    yield address, file


def require_file_stores(user_id: UUID) -> None:
    """Raise StoreUnavailable if a store that has files of the user cannot be reached. Call this before anything is recorded."""
    asked: set[str] = set()
    for _, file in stored_files(user_id):
        if file.store.url not in asked:
            asked.add(file.store.url)
            file.size()


def delete_files(user_id: UUID, *, known: Collection[str] = ()) -> tuple[set[str], int]:
    """Delete the files that no hold keeps, except those with the addresses ``known``, and read back that they are gone.

    Return the addresses, and the number of files that existed. Raise FilesRemain: a further call deletes the rest.
    """
    addresses: set[str] = set()
    deleted = 0
    for address, file in list(stored_files(user_id)):
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
