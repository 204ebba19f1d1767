"""Compare the ledger in PostgreSQL with the ledger outside, entry by entry, and check the chain and the signatures of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from findme.core.errors import UserFacingError
from privacy.ledger.book import read_entries
from privacy.ledger.entry import Entry, LedgerBroken, chained
from privacy.ledger.outside import OutsideLedger
from privacy.ledger.publication import parse_object, signature_of
from privacy.ledger.signing import verified

if TYPE_CHECKING:
    from privacy.ledger.signing import VerifyingKeys


@dataclass(frozen=True, slots=True)
class LedgerComparison:
    """The result of a comparison.

    ``in_postgresql`` and ``outside`` are numbers of entries that follow each other from the first one. ``first_difference`` is the position where
    the copies part, or None. ``unpublished`` entries at the end are only in PostgreSQL, and ``missing`` ones only outside. ``problems`` are errors
    of one copy.
    """

    in_postgresql: int
    outside: int
    first_difference: int | None
    unpublished: int
    missing: int
    head: str
    """The SHA-256 of the last entry outside, in hex."""
    problems: list[str]

    @property
    def is_sound(self) -> bool:
        return self.first_difference is None and not self.missing and not self.problems


def compare_ledgers(outside: OutsideLedger, keys: VerifyingKeys) -> LedgerComparison:
    """Read both copies in constant memory. ``keys`` verify the signatures. Raise StoreUnavailable."""
    problems: list[str] = []
    ours = _until_broken(chained(read_entries()), "PostgreSQL", problems)
    theirs = _until_broken(entries_outside(outside, keys), "outside", problems)
    counts, head, first_difference = [0, 0], bytes(32), None
    for our, their in zip_longest(ours, theirs):
        counts[0] += our is not None
        counts[1] += their is not None
        head = their.digest if their is not None else head
        if our is not None and their is not None and our != their and first_difference is None:
            first_difference = our.position
    return LedgerComparison(
        in_postgresql=counts[0],
        outside=counts[1],
        first_difference=first_difference,
        unpublished=max(counts[0] - counts[1], 0),
        missing=max(counts[1] - counts[0], 0),
        head=head.hex(),
        problems=problems,
    )


def entries_outside(outside: OutsideLedger, keys: VerifyingKeys) -> Iterator[Entry]:
    """Yield all entries outside, in order. Raise LedgerBroken where the chain, an object or a signature is broken."""
    return chained(_entries(outside, keys))


def _entries(outside: OutsideLedger, keys: VerifyingKeys) -> Iterator[Entry]:
    for first in outside.firsts():
        content = outside.read(first) or b""
        entries = parse_object(content, first)
        try:
            head = json.loads(verified(signature_of(content), keys))
        except UserFacingError as error:
            raise LedgerBroken(f"The signature of the object that begins at entry {first} is wrong. {error}") from None
        if head != {"digest": entries[-1].digest.hex(), "position": entries[-1].position}:
            raise LedgerBroken(f"The object of the ledger outside that begins at entry {first} is not the one that was signed.")
        yield from entries


def _until_broken(entries: Iterator[Entry], place: str, problems: list[str]) -> Iterator[Entry]:
    """Yield entries, and note the error that ends them."""
    try:
        yield from entries
    except LedgerBroken as error:
        problems.append(f"{place}: {error}")
