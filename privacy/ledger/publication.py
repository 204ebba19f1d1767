"""Record entries in PostgreSQL, and publish them outside before anything is destroyed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connection, transaction

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.ledger.book import NewEntry, digest_at, insert, last_checkpoint, last_position, read_entries
from privacy.ledger.checkpoint import BEGINNING, Checkpoint, parse_checkpoint
from privacy.ledger.entry import Entry, LedgerBroken, chained, parse_entry
from privacy.ledger.keys import subject_keys
from privacy.ledger.outside import OutsideLedger, outside_ledger
from privacy.ledger.signing import sign, signing_key
from privacy.models import LedgerState

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

LOCK = 7_021_339_562_118_408
"""Key of the advisory lock of publication. Any otherwise unused number."""
LOCK_SECONDS = 30.0
BATCH_SIZE = 1000
"""Entries in one object."""


class LedgerBehind(UserFacingError):
    """The ledger outside has entries that the database lacks: the database was restored from an older copy."""


def record_entries(new: Sequence[NewEntry] | Callable[[], Sequence[NewEntry]]) -> list[int]:
    """Commit the entries, publish them outside, and return their positions. Call this outside a transaction, before anything is destroyed.

    A function ``new`` is called while no other process records an entry, so it can leave out what the ledger has meanwhile.

    Raise UserFacingError if a key is missing, if the ledger is broken or if another process publishes for too long, LedgerBehind, and
    StoreUnavailable. Then nothing may be destroyed. Entries that were committed and not published are published by the next call.
    """
    keys, key, outside = subject_keys(), signing_key(), outside_ledger()
    with publishing():
        publish(outside, key)
        with transaction.atomic(durable=True):
            positions = insert(new() if callable(new) else new, keys)
        publish(outside, key)
    return positions


def publish_pending() -> int:
    """Publish the entries that a killed process has not published, and return their number. Raise as ``record_entries``."""
    key, outside = signing_key(), outside_ledger()
    with publishing():
        return publish(outside, key)


def publish(outside: OutsideLedger, key: OKPKey) -> int:
    """Publish all entries that are not outside yet, and return their number. The caller holds the lock."""
    noted = LedgerState.published()
    position, published = follow(outside, noted), 0
    if position > noted:  # a process was killed after it had created an object
        _note(position)
    while batch := list(read_entries(after=position, up_to=position + BATCH_SIZE)):
        if outside.create(batch[0].position, content_of(batch, key)):
            position, published = batch[-1].position, published + len(batch)
        else:
            before, position = position, follow(outside, position)
            if position == before:
                raise StoreUnavailable(
                    "The ledger outside neither has the next object nor creates it. Check ERASURE_LEDGER_URL, then run it again."
                )
        _note(position)
    return published


def follow(outside: OutsideLedger, position: int) -> int:
    """Return the last position that is outside. All entries up to ``position`` are known to be outside.

    Raise LedgerBehind if the database lacks an entry, and LedgerBroken if an entry differs or if the published ones are gone: another folder, or one
    that is not mounted, must not look like a ledger that has nothing new.
    """
    checkpoint = max(outside.checkpoints(), default=0)
    position = max(position, _known_checkpoint(outside, checkpoint, position))
    if position > checkpoint and outside.read(checkpoint + 1) is None:
        _require_first(outside, last_checkpoint().position + 1)
    while (content := outside.read(position + 1)) is not None:
        entries = list(chained(parse_object(content, position + 1), position, digest_at(position) or b""))
        last = entries[-1].position
        ours = list(read_entries(after=position, up_to=last))
        for entry, our in zip(entries, ours, strict=False):
            if entry != our:
                raise LedgerBroken(
                    f"Entry {entry.position} of the ledger outside is another one than in the database. Two databases write to one ledger:"
                    " run manage.py verify_ledger."
                )
        if len(ours) < len(entries):
            raise LedgerBehind(
                f"The ledger outside has entry {last}, and that of the database ends at {position + len(ours)}: the database was restored."
                " Run manage.py replay_erasures."
            )
        position = last
    return position


def _require_first(outside: OutsideLedger, first: int) -> None:
    """Raise LedgerBroken if the object of the first entry that PostgreSQL has is not outside."""
    if outside.read(first) is None:
        raise LedgerBroken(
            f"The ledger outside lacks entry {first}, which was published. Check that ERASURE_LEDGER_URL names the right place and that it is"
            " mounted, then run manage.py verify_ledger."
        )


def _known_checkpoint(outside: OutsideLedger, last: int, position: int) -> int:
    """Return the ``last`` checkpoint outside if it is after ``position``, otherwise 0.

    The objects before it are deleted. Raise LedgerBehind if the database does not have the entry of the checkpoint, and LedgerBroken if it has another.
    """
    if last <= position:
        return 0
    known, checkpoint = digest_at(last), last_checkpoint_outside(outside)
    if known is None:
        raise LedgerBehind(
            f"The ledger outside begins after entry {last}, and that of the database ends at {last_position()}: the database was restored."
            " Run manage.py replay_erasures."
        )
    if known != checkpoint.digest:
        raise LedgerBroken(
            f"The checkpoint outside at entry {last} is another one than in the database. Two databases write to one ledger:"
            " run manage.py verify_ledger."
        )
    return last


def last_checkpoint_outside(outside: OutsideLedger) -> Checkpoint:
    """Return the last checkpoint outside, without a check of its signature, or BEGINNING. Raise LedgerBroken."""
    for position in reversed(outside.checkpoints()):
        return checkpoint_outside(outside, position)
    return BEGINNING


def checkpoint_outside(outside: OutsideLedger, position: int) -> Checkpoint:
    return parse_checkpoint((outside.read_checkpoint(position) or b"").decode("ascii", "replace").rstrip("\n"), position)


def content_of(entries: Sequence[Entry], key: OKPKey) -> bytes:
    """Return an object: the canonical entries, one a line, and a line with the signature of the last one.

    The same entries and key always give the same object.
    """
    head = json.dumps({"digest": entries[-1].digest.hex(), "position": entries[-1].position}, separators=(",", ":"))
    lines = [*(entry.canonical() for entry in entries), json.dumps({"jws": sign(head.encode(), key)}).encode()]
    return b"\n".join(lines) + b"\n"


def parse_object(content: bytes, first: int) -> list[Entry]:
    """Return the entries of the object that begins at the position ``first``. Raise LedgerBroken."""
    *lines, signature = content.splitlines() or [b""]
    try:
        entries = [parse_entry(line) for line in lines]
        is_whole = (
            content.endswith(b"\n") and json.loads(signature).keys() == {"jws"} and [entry.position for entry in entries[:1]] == [first]
        )
    except (ValueError, AttributeError):
        is_whole = False
    if not is_whole:
        raise LedgerBroken(
            f"The object of the ledger outside that begins at entry {first} is cut off or was edited. Restore it from a copy, then run"
            " manage.py verify_ledger."
        )
    return entries


def signature_of(content: bytes) -> str:
    """Return the JWS of an object that ``parse_object`` accepts."""
    found: str = json.loads(content.splitlines()[-1])["jws"]
    return found


def _note(position: int) -> None:
    LedgerState.objects.update_or_create(pk=1, defaults={"published_position": position})


@contextmanager
def publishing() -> Iterator[None]:
    busy = UserFacingError(
        f"Another process has published entries of the ledger for {LOCK_SECONDS:.0f} seconds: nothing was changed. Run it again."
    )
    with AdvisoryLock(connection, LOCK).held(LOCK_SECONDS, lambda: busy):
        yield
