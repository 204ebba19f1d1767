"""Record entries in PostgreSQL, and publish them outside before anything is destroyed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connection, transaction

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.ledger.book import NewEntry, digest_at, insert, last_checkpoint, last_position, read_entries
from privacy.ledger.checkpoint import BEGINNING, Checkpoint, parse_checkpoint, verify_checkpoint
from privacy.ledger.entry import Entry, LedgerBroken, chained, parse_entry
from privacy.ledger.keys import subject_keys
from privacy.ledger.outside import OutsideLedger, outside_ledger
from privacy.ledger.signing import sign, signing_key, verifying_keys
from privacy.models import LedgerState

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

LOCK = 7_021_339_562_118_408
"""Key of the advisory lock of publication. Any otherwise unused number."""
LOCK_SECONDS = 30.0
BATCH_SIZE = 1000
"""Entries in one object."""


@dataclass(frozen=True, slots=True)
class Published:
    """The last object outside: its last position and its first one. ``first`` is 0 if it is unknown, or if a checkpoint replaced the object."""

    position: int = 0
    first: int = 0


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
        last, _ = _publish(outside, key, note_published(outside))
        with transaction.atomic(durable=True):
            entries = insert(new() if callable(new) else new, keys)
        _publish(outside, key, last, entries)
    return [entry.position for entry in entries]


def publish_pending() -> int:
    """Publish the entries that a killed process has not published, and return their number. Raise as ``record_entries``."""
    key, outside = signing_key(), outside_ledger()
    with publishing():
        return publish(outside, key)


def publish(outside: OutsideLedger, key: OKPKey) -> int:
    """Publish all entries that are not outside yet, and return their number. The caller holds the lock."""
    return _publish(outside, key, note_published(outside))[1]


def _publish(outside: OutsideLedger, key: OKPKey, last: Published, new: Sequence[Entry] = ()) -> tuple[Published, int]:
    """Publish all entries after ``last``, and return the last object and their number. ``new`` are entries that need not be read again."""
    count, checkpoint = 0, last_checkpoint()
    if last.position < checkpoint.position:
        # The ledger outside was lost. The entries before the checkpoint are in no copy any more, and the checkpoint continues the chain.
        outside.create_checkpoint(checkpoint.position, content_of_checkpoint(verify_checkpoint(checkpoint, verifying_keys())))
        last = _note(Published(checkpoint.position))
    while batch := _following(last, new):
        if outside.create(batch[0].position, content_of(batch, key)):
            last, count = _note(Published(batch[-1].position, batch[0].position)), count + len(batch)
        elif (found := follow(outside, last)) == last:
            raise StoreUnavailable(
                "The ledger outside neither has the next object nor creates it. Check ERASURE_LEDGER_URL, then run it again."
            )
        else:
            last = _note(found)
    return last, count


def _following(last: Published, new: Sequence[Entry]) -> Sequence[Entry]:
    """Return the next entries to publish. PostgreSQL has checked ``new`` when it stored them."""
    after = [entry for entry in new if entry.position > last.position][:BATCH_SIZE]
    if after and after[0].position == last.position + 1:
        return after
    return list(read_entries(after=last.position, up_to=last.position + BATCH_SIZE))


def published() -> Published:
    """Return the last object that the database knows to be outside."""
    return state()[0]


def state() -> tuple[Published, bool]:
    """Return the last object that the database knows to be outside, and whether a replay has not ended."""
    found = LedgerState.objects.filter(pk=1).values_list("published_position", "published_first", "is_replaying").first()
    return (Published(*found[:2]), found[2]) if found else (Published(), False)


def note_published(outside: OutsideLedger) -> Published:
    """Note the last object outside, and return it. The caller holds the lock. A process may have been killed after it had created an object."""
    known = published()
    found = follow(outside, known)
    return found if found == known else _note(found)


def follow(outside: OutsideLedger, known: Published) -> Published:
    """Return the last object outside. The database knows that ``known`` was there.

    Raise LedgerBehind if the database lacks an entry, and LedgerBroken if an entry differs, or if ``known`` is not outside any more.
    """
    last = _known_checkpoint(outside, known.position) or _known_object(outside, known)
    while (content := outside.read(last.position + 1)) is not None:
        entries = list(chained(parse_object(content, last.position + 1), last.position, digest_at(last.position) or b""))
        end = entries[-1].position
        ours = list(read_entries(after=last.position, up_to=end))
        for entry, our in zip(entries, ours, strict=False):
            if entry != our:
                raise _differs(f"Entry {entry.position} of the ledger outside")
        if len(ours) < len(entries):
            raise _behind(f"has entry {end}", last.position + len(ours))
        last = Published(end, last.position + 1)
    return last


def require_published(outside: OutsideLedger) -> None:
    """Raise LedgerBroken if the ledger outside has lost what was published."""
    known = published()
    if known.position > max(outside.checkpoints(), default=0):
        _read_published(outside, known)


def _known_checkpoint(outside: OutsideLedger, position: int) -> Published | None:
    """Return the last checkpoint outside if it is at ``position`` or after it.

    The objects before it are deleted. Raise LedgerBehind if the database does not have the entry of the checkpoint, and LedgerBroken if it has another.
    """
    last = max(outside.checkpoints(), default=0)
    if not last or last < position:
        return None
    known, checkpoint = digest_at(last), last_checkpoint_outside(outside)
    if known is None:
        raise _behind(f"begins after entry {last}", last_position())
    if known != checkpoint.digest:
        raise _differs(f"The checkpoint outside at entry {last}")
    return Published(last)


def _known_object(outside: OutsideLedger, known: Published) -> Published:
    """Return ``known`` with the first position of its object. Raise as ``follow``."""
    if not known.position:
        return known
    first, entry = _read_published(outside, known)
    digest = digest_at(known.position)
    if digest is None:
        raise _behind(f"has entry {known.position}", last_position())
    if digest != entry.digest:
        raise _differs(f"Entry {known.position} of the ledger outside")
    return Published(known.position, first)


def _read_published(outside: OutsideLedger, known: Published) -> tuple[int, Entry]:
    """Return the first position of the object ``known``, and its last entry. Raise LedgerBroken if the ledger outside does not have it any more."""
    first = known.first or max((first for first in outside.firsts() if first <= known.position), default=0)
    content = outside.read(first) if first else None
    # Only two lines, because this runs twice for each erasure. verify_ledger reads all of them.
    lines = [] if content is None else _lines(content, first)
    if known.position - first < len(lines):
        for entry in _entries([lines[0], lines[known.position - first]], first):
            if entry.position == known.position:
                return first, entry
    raise LedgerBroken(
        f"The ledger outside lacks entry {known.position}, which was published. Check that ERASURE_LEDGER_URL names the right place and that it is"
        " mounted, then run manage.py verify_ledger."
    )


def _behind(outside: str, end: int) -> LedgerBehind:
    return LedgerBehind(
        f"The ledger outside {outside}, and that of the database ends at {end}: the database was restored. Run manage.py replay_erasures."
    )


def _differs(what: str) -> LedgerBroken:
    return LedgerBroken(f"{what} is another one than in the database. Two databases write to one ledger: run manage.py verify_ledger.")


def last_checkpoint_outside(outside: OutsideLedger) -> Checkpoint:
    """Return the last checkpoint outside, without a check of its signature, or BEGINNING. Raise LedgerBroken."""
    for position in reversed(outside.checkpoints()):
        return checkpoint_outside(outside, position)
    return BEGINNING


def checkpoint_outside(outside: OutsideLedger, position: int) -> Checkpoint:
    return parse_checkpoint((outside.read_checkpoint(position) or b"").decode("ascii", "replace").rstrip("\n"), position)


def content_of_checkpoint(checkpoint: Checkpoint) -> bytes:
    return f"{checkpoint.token}\n".encode()


def content_of(entries: Sequence[Entry], key: OKPKey) -> bytes:
    """Return an object: the canonical entries, one a line, and a line with the signature of the last one.

    The same entries and key always give the same object.
    """
    head = json.dumps({"digest": entries[-1].digest.hex(), "position": entries[-1].position}, separators=(",", ":"))
    lines = [*(entry.canonical() for entry in entries), json.dumps({"jws": sign(head.encode(), key)}).encode()]
    return b"\n".join(lines) + b"\n"


def parse_object(content: bytes, first: int) -> list[Entry]:
    """Return the entries of the object that begins at the position ``first``. Raise LedgerBroken."""
    return _entries(_lines(content, first), first)


def _lines(content: bytes, first: int) -> list[bytes]:
    """Return the lines of the entries. Raise LedgerBroken if the end or the signature is missing."""
    *lines, signature = content.splitlines() or [b""]
    try:
        is_whole = bool(lines) and content.endswith(b"\n") and json.loads(signature).keys() == {"jws"}
    except (ValueError, AttributeError, RecursionError):
        is_whole = False
    if not is_whole:
        raise _damaged(first)
    return lines


def _entries(lines: Sequence[bytes], first: int) -> list[Entry]:
    """Return the entries of the lines, of which the first is that at the position ``first``. Raise LedgerBroken."""
    try:
        entries = [parse_entry(line) for line in lines]
    except (ValueError, RecursionError):
        raise _damaged(first) from None
    if entries[0].position != first:
        raise _damaged(first)
    return entries


def _damaged(first: int) -> LedgerBroken:
    return LedgerBroken(
        f"The object of the ledger outside that begins at entry {first} is cut off or was edited. Restore it from a copy, then run"
        " manage.py verify_ledger."
    )


def signature_of(content: bytes) -> str:
    """Return the JWS of an object that ``parse_object`` accepts."""
    found: str = json.loads(content.splitlines()[-1])["jws"]
    return found


def _note(last: Published) -> Published:
    LedgerState.objects.update_or_create(pk=1, defaults={"published_position": last.position, "published_first": last.first})
    return last


@contextmanager
def publishing() -> Iterator[None]:
    busy = UserFacingError(
        f"Another process has published entries of the ledger for {LOCK_SECONDS:.0f} seconds: nothing was changed. Run it again."
    )
    with AdvisoryLock(connection, LOCK).held(LOCK_SECONDS, lambda: busy):
        yield
