"""Compare the ledger in PostgreSQL with the ledger outside, entry by entry, and check the chain and the signatures of both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

from findme.core.errors import UserFacingError
from privacy.ledger.book import checkpoints, read_entries
from privacy.ledger.checkpoint import BEGINNING, Checkpoint, verify_checkpoint
from privacy.ledger.entry import Entry, LedgerBroken, chained
from privacy.ledger.outside import OutsideLedger
from privacy.ledger.publication import checkpoint_outside, last_checkpoint_outside, parse_object, signature_of
from privacy.ledger.signing import verified
from privacy.models import LedgerState

if TYPE_CHECKING:
    from privacy.ledger.signing import VerifyingKeys

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class LedgerComparison:
    """The result of a comparison.

    The entries up to ``checkpoint`` were deleted after their retention. ``in_postgresql`` and ``outside`` are numbers of entries that follow each other
    from there. ``first_difference`` is the position where the copies part, or None. ``unpublished`` entries at the end are only in PostgreSQL, and
    ``missing`` ones only outside. ``problems`` are errors of one copy.
    """

    checkpoint: int
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
    published = LedgerState.published()  # before the copies are read, because another process may publish meanwhile
    in_postgresql = list(_until_broken((verify_checkpoint(one, keys) for one in checkpoints()), "PostgreSQL", problems))
    outside_too = list(_until_broken(checkpoints_outside(outside, keys), "outside", problems))
    _compare_checkpoints(in_postgresql, outside_too, problems)
    our_first, their_first = max([BEGINNING, *in_postgresql], key=_position), max([BEGINNING, *outside_too], key=_position)
    start = max(our_first, their_first, key=_position)
    ours = _Copy("PostgreSQL", chained(read_entries(after=our_first.position), our_first.position, our_first.digest), our_first)
    theirs = _Copy("outside", _entries_after(outside, keys, their_first), their_first)
    first_difference = None
    for our, their in zip_longest(ours.after(start, problems), theirs.after(start, problems)):
        if our is not None and their is not None and our != their and first_difference is None:
            first_difference = our.position
    if theirs.last < published and not problems:
        problems.append(
            f"outside: The ledger ends at entry {theirs.last}, and entry {published} was published: it was cut off. Restore it from a copy."
        )
    return LedgerComparison(
        checkpoint=start.position,
        in_postgresql=ours.count,
        outside=theirs.count,
        first_difference=first_difference,
        unpublished=max(ours.last - max(theirs.last, published), 0),
        missing=max(theirs.last - ours.last, 0),
        head=theirs.head.hex(),
        problems=problems,
    )


class _Copy:
    """The entries of one copy. ``last`` and ``head`` are the position and the digest of the last one."""

    def __init__(self, place: str, entries: Iterator[Entry], first: Checkpoint) -> None:
        self.place, self.entries, self.count, self.last, self.head = place, entries, 0, first.position, first.digest

    def after(self, start: Checkpoint, problems: list[str]) -> Iterator[Entry]:
        """Yield the entries after the checkpoint ``start``, which can be that of the other copy."""
        broken = len(problems)
        for entry in _until_broken(self.entries, self.place, problems):
            if self.last == start.position:
                self._compare(start, problems)
            self.last, self.head = entry.position, entry.digest
            if entry.position > start.position:
                self.count += 1
                yield entry
        if self.last == start.position:
            self._compare(start, problems)
        elif self.last < start.position and len(problems) == broken:
            problems.append(f"{self.place}: The ledger ends at entry {self.last}, before the checkpoint at entry {start.position}.")

    def _compare(self, start: Checkpoint, problems: list[str]) -> None:
        if self.head != start.digest:
            problems.append(f"{self.place}: Entry {start.position} is another one than in the checkpoint of the other copy.")


def _compare_checkpoints(ours: Sequence[Checkpoint], theirs: Sequence[Checkpoint], problems: list[str]) -> None:
    tokens = {one.position: one.token for one in ours}
    problems += [
        f"The checkpoint at entry {one.position} differs between the copies."
        for one in theirs
        if tokens.get(one.position, one.token) != one.token
    ]


def _position(checkpoint: Checkpoint) -> int:
    return checkpoint.position


def checkpoints_outside(outside: OutsideLedger, keys: VerifyingKeys) -> Iterator[Checkpoint]:
    """Yield all checkpoints outside, in order. Raise LedgerBroken for one that was edited, moved or not signed by the keys."""
    return (verify_checkpoint(checkpoint_outside(outside, position), keys) for position in outside.checkpoints())


def entries_outside(outside: OutsideLedger, keys: VerifyingKeys) -> Iterator[Entry]:
    """Yield all entries outside after the last checkpoint, in order. Raise LedgerBroken where the chain, an object or a signature is broken."""
    return _entries_after(outside, keys, start_outside(outside, keys))


def start_outside(outside: OutsideLedger, keys: VerifyingKeys) -> Checkpoint:
    """Return the last checkpoint outside, or BEGINNING. Raise LedgerBroken."""
    checkpoint = last_checkpoint_outside(outside)
    return checkpoint if checkpoint is BEGINNING else verify_checkpoint(checkpoint, keys)


def _entries_after(outside: OutsideLedger, keys: VerifyingKeys, start: Checkpoint) -> Iterator[Entry]:
    return chained(_entries(outside, keys, start.position), start.position, start.digest)


def _entries(outside: OutsideLedger, keys: VerifyingKeys, after: int) -> Iterator[Entry]:
    """Yield the entries after the position ``after``. A killed process may have left objects that end before it."""
    firsts = outside.firsts()
    for first, following in zip_longest(firsts, firsts[1:]):
        if following is not None and following <= after + 1:
            continue
        content = outside.read(first) or b""
        entries = parse_object(content, first)
        try:
            head = json.loads(verified(signature_of(content), keys))
        except UserFacingError as error:
            raise LedgerBroken(f"The signature of the object that begins at entry {first} is wrong. {error}") from None
        if head != {"digest": entries[-1].digest.hex(), "position": entries[-1].position}:
            raise LedgerBroken(f"The object of the ledger outside that begins at entry {first} is not the one that was signed.")
        yield from (entry for entry in entries if entry.position > after)


def _until_broken(found: Iterator[Found], place: str, problems: list[str]) -> Iterator[Found]:
    """Yield what was found, and note the error that ends it."""
    try:
        yield from found
    except LedgerBroken as error:
        problems.append(f"{place}: {error}")
