"""Erase many users at once, in the same way as ``erase`` does for one: ledger first, then both stores, with a read-back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection, transaction
from django.db.models import Exists, OuterRef

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.db.expressions import IsAmong
from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from findme.core.postgresql.arrays import uuid_array
from privacy.actions.deletion import delete_users
from privacy.actions.erase_files import stored_files
from privacy.actions.erasures import record_batch
from privacy.actions.locking import check_deferred_constraints, limit_waiting
from privacy.actions.notes import settle_undone
from privacy.actions.pending import LOCK, complete_action
from privacy.actions.recording import COVERED
from privacy.actions.stores import remove_many_from_stores, store_sessions
from privacy.audit import Action, record_many
from privacy.ledger.book import NewEntry
from privacy.ledger.entry import Kind
from privacy.ledger.keys import subject_keys
from privacy.ledger.publication import LOCK_SECONDS, record_entries
from privacy.ledger.states import last_kinds
from privacy.models import Erasure, PendingAction
from privacy.registry import registry


@dataclass(frozen=True, slots=True)
class ManyErased:
    """``erased`` users are gone from both stores. ``waiting`` has the reason for each user whose erasure stays pending."""

    erased: int
    waiting: dict[UUID, str] = field(default_factory=dict)


def another_process() -> UserFacingError:
    return UserFacingError("Another process completes privacy actions: nothing was changed. Run it again.")


def erase_many(user_ids: Sequence[UUID], approval: bytes) -> ManyErased:
    """Record the erasures in one object of the ledger, and erase the users in one transaction, which also adds one row to ``erasures``.

    ``approval`` is the digest of the rules of retention that an operator has approved. Users whose erasure another process has begun are left to it. Users with files in a file store, or with a sealed plan, are erased one by one, with
    all steps. So is each user if the transaction fails because of one of them. If the process is killed, ``process_pending`` completes the erasures.
    Raise UserFacingError and StoreUnavailable if a store or the ledger cannot be reached: then nothing was changed.
    """
    with store_sessions(), AdvisoryLock(connection, LOCK).held(LOCK_SECONDS, another_process):
        user_ids = _still_there(user_ids)
        if not user_ids:
            return ManyErased(0)
        notes = _record(user_ids)
        apart = _with_own_steps(user_ids)
        together = [user_id for user_id in user_ids if user_id not in apart]
        try:
            if together:
                _erase(together, approval)
        except StoreUnavailable as error:
            return ManyErased(0, dict.fromkeys(user_ids, one_line(error)))
        except (UserFacingError, DatabaseError):
            return _one_by_one(list(notes.values()))
        rest = _one_by_one([notes[user_id] for user_id in apart])
        return ManyErased(len(together) + rest.erased, rest.waiting)


def _still_there(user_ids: Sequence[UUID]) -> list[UUID]:
    """Return the users whose erasure another process has not begun. No process begins one while this one has the lock."""
    users = get_user_model()._base_manager.filter(IsAmong("pk", uuid_array(user_ids)))
    begun = PendingAction.objects.filter(user_id=OuterRef("pk"), kind=Kind.ERASE)
    return list(users.exclude(Exists(begun)).order_by("pk").values_list("pk", flat=True))


def _with_own_steps(user_ids: Collection[UUID]) -> set[UUID]:
    """Return the users whose erasure has more steps than the transaction: files to delete, or a plan that is sealed."""
    sealed = Erasure.objects.filter(IsAmong("user_id", uuid_array(user_ids)), state=Erasure.State.SEALED)
    with_files = [user_id for user_id in user_ids if any(stored_files(user_id))] if settings.FILE_STORES else []
    return {*(erasure.user for erasure in sealed), *with_files}


def _record(user_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Note the erasures, and record those that the ledger lacks, in one transaction. Return the key of each note."""
    settle_undone(user_ids)
    keys = subject_keys()
    notes: dict[UUID, int] = {}

    def begin() -> list[NewEntry]:
        notes.update(_note(user_ids))
        last = last_kinds(user_ids, keys)
        return [NewEntry(Kind.ERASE, user_id) for user_id in user_ids if last.get((user_id, Kind.ERASE)) is not Kind.ERASE]

    record_entries(begin)
    return notes


def _note(user_ids: Sequence[UUID]) -> list[tuple[UUID, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO pending_actions (user_id, kind) SELECT unnest(%s::uuid[]), %s RETURNING user_id, id",
            [uuid_array(user_ids), Kind.ERASE],
        )
        return [(user_id, pk) for user_id, pk in cursor.fetchall()]


def _erase(user_ids: Sequence[UUID], approval: bytes) -> None:
    """Erase the users, which are in the order of their ids, as PostgreSQL returns them."""
    with transaction.atomic(durable=True):
        limit_waiting()
        users = get_user_model()._base_manager.filter(IsAmong("pk", uuid_array(user_ids)), is_staff=False, is_superuser=False)
        if list(users.order_by("pk").select_for_update().values_list("pk", flat=True)) != list(user_ids):
            raise UserFacingError("Some users are gone, or are staff: nothing was changed. Erase them one by one.")
        if _with_own_steps(user_ids):  # of rows that were added meanwhile
            raise UserFacingError("Some users have files: nothing was changed. Erase them one by one.")
        for owner in registry.owners:
            owner.erase_many(user_ids)
        delete_users(user_ids)
        PendingAction.objects.filter(IsAmong("user_id", uuid_array(user_ids)), kind__in=COVERED[Kind.ERASE]).delete()
        record_many(Action.ERASE, user_ids)
        check_deferred_constraints()
        remove_many_from_stores(user_ids)
        record_batch(user_ids, approval)


def _one_by_one(notes: Collection[int]) -> ManyErased:
    """Erase each user whose note is still there. A lost answer to a commit may have left none, and a new hold keeps a user."""
    erased, waiting = len(notes), {}
    for row in PendingAction.objects.filter(pk__in=notes).order_by("pk"):
        try:
            is_done = complete_action(row)
        except UserFacingError as error:
            waiting[row.user_id], is_done = one_line(error), False
        erased -= not is_done
    return ManyErased(erased, waiting)
