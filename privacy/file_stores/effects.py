"""What an erasure or an anonymization does to the files of a user, for previews."""

from __future__ import annotations

from collections.abc import Iterable

from privacy.declarations import Disposition
from privacy.file_stores.addresses import Elsewhere
from privacy.file_stores.stored_file import locate
from privacy.registry import Effect


def file_effects(noun: str, addresses: Iterable[str]) -> list[Effect]:
    """Return how many of the files are deleted, and how many stay because no store of ``FILE_STORES`` has them. An address counts each time."""
    found = list(addresses)
    kept = sum(isinstance(locate(address), Elsewhere) for address in found)
    stored = len(found) - kept
    effects = [Effect(noun, stored, Disposition.DELETED)] if stored else []
    if kept or not stored:
        effects.append(Effect(f"{noun} in the storage that their URLs name", kept, Disposition.KEPT))
    return effects
