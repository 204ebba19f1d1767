"""Repeat the privacy actions that a restored database has lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Exists, OuterRef

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from privacy.actions.last_entries import LastEntries
from privacy.actions.notes import ACTIONS, HIDING
from privacy.actions.rectifications import LastRectifications, lost_rectifications, note_rectification
from privacy.actions.restriction import counts_of_stop, restrict, stop_matching
from privacy.actions.undo_erasure import undo_erasures
from privacy.ledger.book import copy_in, digest_at, last_checkpoint, last_position, read_entries
from privacy.ledger.checkpoint import Checkpoint, row_of
from privacy.ledger.entry import Entry, Kind, LedgerBroken
from privacy.ledger.gate import GATE
from privacy.ledger.keys import SubjectKeys, subject_keys
from privacy.ledger.outside import outside_ledger
from privacy.ledger.publication import note_published, publishing, require_published
from privacy.ledger.signing import verifying_keys
from privacy.ledger.states import action_of, undoing
from privacy.ledger.verify import entries_outside, start_outside
from privacy.models import ErasedUser, LedgerCheckpoint, LedgerEntry, LedgerState, PendingAction
from privacy.models.request_choices import Processing
from privacy.users import anonymized_email

BATCH_SIZE = 1000
IDS = 10_000
"""Ids that are read at once."""
Noted: TypeAlias = Mapping[tuple[bytes, Kind], Sequence[int]]
"""Keys of the pending actions by subject and action."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """Result of a replay.

    ``entries`` are in the ledger outside, and ``copied`` of them were missing in the database. ``repeated`` are the repeated actions by kind, and
    ``waiting`` has the reason for each user whose action failed. With ``dry_run``, nothing was done: the counts say what would be done.
    """

    dry_run: bool
    entries: int
    copied: int
    repeated: dict[str, int]
    waiting: dict[UUID, str]
    rectifications: tuple[UUID, ...] = ()
    """Users whose data must be corrected again, because the database has lost the answered request."""


@dataclass(frozen=True, slots=True)
class _User:
    """A user of the database. ``hidden_by`` is empty also for an id without a row in ``users``."""

    user_id: UUID
    exists: bool
    is_anonymized: bool
    hidden_by: frozenset[Kind]
    """Which of ``HIDING`` were done and not undone."""
    is_erased: bool
    """Whether ``erased_users`` has the id."""
    is_without_embedding: bool = False
    """Whether the user objected to the embedding, and the ledger has its deletion."""


def replay(*, dry_run: bool = False, data_are_newer: bool = False) -> Replayed:
    """Copy missing entries from the ledger outside, and repeat the last action of each user whose rows differ from the ledger.

    The function reads every id of the database once, and asks no store about a user without an entry. It can be killed and run again. It continues
    after a locked user, and does not ask again after a store has not answered. ``data_are_newer`` says that a database without a ledger has data that
    are newer than the entries that were deleted after their retention. Raise UserFacingError for a missing key, LedgerBroken and StoreUnavailable.
    """
    keys = subject_keys()
    rectified: LastRectifications = {}
    last, entries, copied, settled = _copy_missing(keys, rectified, dry_run=dry_run, data_are_newer=data_are_newer)
    repeated: Counter[str] = Counter()
    waiting: dict[UUID, str] = {}
    unavailable: str | None = None
    for user, kinds in _concerned(last, _later_notes(settled)):
        for kind in kinds:
            if not dry_run and unavailable is None:
                try:
                    _repeat(kind, user.user_id, Processing.EMBEDDING if user.is_without_embedding else Processing.MATCHING)
                except StoreUnavailable as error:
                    unavailable = one_line(error)
                except UserFacingError as error:
                    waiting[user.user_id] = one_line(error)
                    continue
            if unavailable is not None:
                waiting[user.user_id] = unavailable
                continue
            repeated[kind.label] += 1
    if not dry_run and not waiting:
        _end()
    users = get_user_model()._base_manager.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=IDS)
    rectifications = lost_rectifications(rectified, users, keys)
    return Replayed(dry_run, entries, copied, dict(sorted(repeated.items())), waiting, rectifications)


def _copy_missing(
    keys: SubjectKeys, rectified: LastRectifications, *, dry_run: bool, data_are_newer: bool
) -> tuple[LastEntries, int, int, set[int]]:
    """Copy the entries that the database lacks.

    Return the last entries, the numbers of all entries and of the copied ones, and the keys of the pending actions that the copied ones have.

    Note the last rectifications in ``rectified``. Raise LedgerBroken if the database has another entry at a position, or if it ends before the ledger
    outside begins, or if published entries are not outside any more.
    """
    last = LastEntries(keys)
    total = copied = 0
    noted: Noted | None = None
    settled: set[int] = set()
    outside, verifying = outside_ledger(), verifying_keys()
    require_published(outside)
    start = _require_known(start_outside(outside, verifying), data_are_newer=data_are_newer)
    known, own = digest_at(start.position), last_checkpoint().position
    if known is None and not dry_run:
        _begin_at(start)
    ours = read_entries(after=max(start.position, own))
    entries = (entry for entry in entries_outside(outside, verifying) if entry.position > own)
    while batch := list(islice(entries, BATCH_SIZE)):
        missing = list(_missing(batch, ours))
        for entry in batch:
            last.add(entry)
            note_rectification(rectified, entry)
        if missing:
            noted = _pending(keys) if noted is None else noted
            settled |= {pk for entry in missing for pk in noted.get((entry.subject, action_of(entry.kind)), ())}
            if not dry_run:
                _copy(missing, settled)
        total, copied = total + len(batch), copied + len(missing)
    return last, total, copied, settled


def _require_known(start: Checkpoint, *, data_are_newer: bool) -> Checkpoint:
    """Return the checkpoint with which the ledger outside begins. Raise LedgerBroken if the database does not have its entry."""
    known = digest_at(start.position)
    if known is None and not LedgerEntry.objects.exists() and not LedgerCheckpoint.objects.exists():
        if not data_are_newer:
            raise LedgerBroken(
                f"The database has no ledger, and that outside begins after entry {start.position} of {start.recorded_at:%Y-%m-%d}: nothing was"
                " changed. If the data are newer, add --data-are-newer."
            )
    elif known is None:
        raise LedgerBroken(
            f"The database ends at entry {last_position()} of the ledger, and that outside begins after entry {start.position}: nothing was"
            f" changed. Restore a backup that is newer than {start.recorded_at:%Y-%m-%d}."
        )
    elif known != start.digest:
        raise LedgerBroken(
            f"Entry {start.position} of the ledger outside is another one than in the database: nothing was changed. Two databases write to one"
            " ledger: run manage.py verify_ledger."
        )
    return start


def _begin_at(start: Checkpoint) -> None:
    """Let the ledger of a database without entries begin at the checkpoint."""
    with transaction.atomic(durable=True):
        row_of(start).save(force_insert=True)
        LedgerState.objects.update_or_create(
            pk=1, defaults={"published_position": start.position, "published_first": 0, "is_replaying": True}
        )


def _missing(batch: Sequence[Entry], ours: Iterator[Entry]) -> Iterator[Entry]:
    for entry in batch:
        our = next(ours, None)
        if our is None:
            yield entry
        elif our != entry:
            raise LedgerBroken(
                f"Entry {entry.position} of the ledger outside is another one than in the database: nothing was changed. Two databases write to one"
                " ledger: run manage.py verify_ledger."
            )


def _pending(keys: SubjectKeys) -> Noted:
    """Return what was pending at the time of the backup."""
    noted: defaultdict[tuple[bytes, Kind], list[int]] = defaultdict(list)
    for pk, user_id, kind in PendingAction.objects.values_list("pk", "user_id", "kind").iterator():
        for subject in keys.subjects(user_id):
            noted[subject, action_of(Kind(kind))].append(pk)
    return noted


def _copy(missing: Sequence[Entry], settled: Collection[int]) -> None:
    """Add the entries. What was pending at the time of the backup and is in a copied entry has been done, or undone, since.

    From now on no search is served until a replay has ended.
    """
    with transaction.atomic(durable=True):
        copy_in(missing)
        PendingAction.objects.filter(pk__in=settled).delete()
        LedgerState.objects.update_or_create(pk=1, defaults={"is_replaying": True})


def _end() -> None:
    """Let searches be served again, after every user agrees with the ledger."""
    if LedgerState.objects.filter(is_replaying=True).exists():
        with publishing():
            note_published(outside_ledger())
        LedgerState.objects.filter(is_replaying=True).update(is_replaying=False)
    GATE.forget()


def _later_notes(settled: Collection[int]) -> dict[UUID, dict[Kind, Kind]]:
    """Return the last kind by action that is noted and not in the ledger yet. It is newer than each entry about this action of the user."""
    notes: defaultdict[UUID, dict[Kind, Kind]] = defaultdict(dict)
    rows = PendingAction.objects.filter(is_held=False).exclude(pk__in=settled).order_by("pk")
    for user_id, kind in rows.values_list("user_id", "kind").iterator():
        if kind == Kind.UNDO_ERASE:  # a user who comes back begins again
            notes[user_id] = {action: undoing(action) for action in ACTIONS}
        else:
            notes[user_id][action_of(Kind(kind))] = Kind(kind)
    return notes


def _concerned(last: LastEntries, notes: Mapping[UUID, Mapping[Kind, Kind]]) -> Iterator[tuple[_User, list[Kind]]]:
    """Yield each user whose state differs from the ledger, with the actions to repeat. What is noted differently is left to the worker."""
    held = set(PendingAction.objects.filter(is_held=True, kind=Kind.ERASE).values_list("user_id", flat=True))
    ids = _ids()
    while batch := list(islice(ids, IDS)):
        states = {user_id: found for user_id in batch if (found := _states(last, notes.get(user_id, {}), user_id))}
        for one in _users(states):
            is_objecting = states[one.user_id].get(Kind.OBJECT) is Kind.OBJECT
            user = replace(one, is_without_embedding=True) if is_objecting and last.is_without_embedding(one.user_id) else one
            if kinds := _to_repeat(user, states[user.user_id], is_held=user.user_id in held):
                yield user, kinds


def _states(last: LastEntries, notes: Mapping[Kind, Kind], user_id: UUID) -> dict[Kind, Kind]:
    return {action: kind for action, kind in last.kinds(user_id).items() if notes.get(action, kind) is kind}


def _to_repeat(user: _User, states: Mapping[Kind, Kind], *, is_held: bool) -> list[Kind]:
    """Return the kinds to repeat. A user who was erased or anonymized has nothing left to hide.

    With ``is_held``, the erasure is done except for held data.
    """
    if states.get(Kind.ERASE) is Kind.ERASE:
        return [Kind.ERASE] if user.exists and not is_held else []
    if states.get(Kind.ANONYMIZE) is Kind.ANONYMIZE:
        return [Kind.ANONYMIZE] if user.exists and not user.is_anonymized else []
    kinds = [kind for kind in (states.get(Kind.ERASE), states.get(Kind.ANONYMIZE)) if kind is not None and user.is_erased]
    hiding = {action: kind for action in HIDING if user.exists and (kind := states.get(action)) is not None}
    kinds += [kind for action, kind in hiding.items() if (kind is action) != (action in user.hidden_by)]
    if user.exists and user.is_without_embedding and Kind.OBJECT not in kinds and counts_of_stop(user.user_id, Processing.EMBEDDING):
        kinds.append(Kind.OBJECT)
    return kinds


def _repeat(kind: Kind, user_id: UUID, processing: Processing) -> None:
    match kind:
        case Kind.ERASE:
            erase(user_id)
        case Kind.ANONYMIZE:
            anonymize(user_id)
        case Kind.SOFT_DELETE:
            soft_delete(user_id)
        case Kind.RESTRICT:
            restrict(user_id)
        case Kind.OBJECT:
            stop_matching(user_id, processing)
        case Kind.UNDO_SOFT_DELETE | Kind.UNDO_RESTRICT | Kind.UNDO_OBJECT:
            get_user_model().objects.filter(pk=user_id).update(**{HIDING[action_of(kind)]: None})
        case Kind.UNDO_ERASE | Kind.UNDO_ANONYMIZE:
            undo_erasures([user_id])


def _ids() -> Iterator[UUID]:
    """Yield the id of every user of the database, and then every id in ``erased_users`` without a user."""
    users = get_user_model()._base_manager.all()
    gone = ErasedUser.objects.exclude(Exists(users.filter(pk=OuterRef("pk"))))
    for rows in (users, gone):
        yield from rows.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=IDS)


def _users(user_ids: Collection[UUID]) -> list[_User]:
    """Return what the database has of these ids."""
    rows = get_user_model()._base_manager.filter(pk__in=user_ids).values_list("pk", "email", *HIDING.values())
    found = {user_id: (email == anonymized_email(user_id), _hidden_by(times)) for user_id, email, *times in rows}
    erased = set(ErasedUser.objects.filter(pk__in=user_ids).values_list("pk", flat=True))
    return [_User(user_id, user_id in found, *found.get(user_id, (False, frozenset())), user_id in erased) for user_id in user_ids]


def _hidden_by(times: Iterable[object]) -> frozenset[Kind]:
    return frozenset(action for action, since in zip(HIDING, times, strict=True) if since is not None)
