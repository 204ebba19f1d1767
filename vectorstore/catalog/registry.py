"""The registry of collections in PostgreSQL: one row for each, with the alias that points to it, will point to it, or did.

The alias in Qdrant decides which collection is searched. The alias and the row cannot change in one transaction: ``reconcile`` makes the rows agree
with the alias.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

from django.contrib.postgres.functions import TransactionNow
from django.db import connection, transaction
from django.db.models import Case, ExpressionWrapper, Q, Value, When
from django.db.models.expressions import CombinedExpression
from django.db.models.fields import DateTimeField

from findme.core.errors import UserFacingError
from findme.core.version import __version__
from vectorstore.models import StoreState, VectorCollection
from vectorstore.models.collections import COPY_SUFFIX, VectorCollectionQuerySet
from vectorstore.qdrant.connection import collection_name
from vectorstore.queue.entries import enqueue_everyone, enqueue_orphan_scan
from vectorstore.queue.transactions import short_transaction

State = VectorCollection.State
log = logging.getLogger(__name__)

NOT_CREATED = "it has not been created yet"
BEING_DROPPED = "it is being dropped"


class AliasNotMoved(UserFacingError):
    """A collection does not go live, because of ``problem``. The alias was not moved."""

    def __init__(self, problem: str, next_step: str) -> None:
        self.problem = problem
        super().__init__(f"{problem}. The alias was not moved. {next_step}")


def rows() -> VectorCollectionQuerySet:
    """Return the rows of the alias."""
    return VectorCollection.objects.of(collection_name())


class Targets(NamedTuple):
    """The ``collections`` that receive every write, the live one first, and the ``copies``, which receive deletions and no other write."""

    collections: tuple[str, ...]
    copies: tuple[str, ...]


def targets() -> Targets:
    """Return the collections that receive writes, by one statement."""
    statement, (_, *parameters) = _targets()
    with connection.cursor() as cursor:
        cursor.execute(statement, [collection_name(), *parameters])
        names = [name for (name,) in cursor.fetchall()]
    copy = copy_name()
    return Targets(tuple(name for name in names if name != copy), tuple(name for name in names if name == copy))


def write_targets() -> tuple[str, ...]:
    """Return the collections that receive every write, the live one first."""
    return targets().collections


def deletion_targets() -> tuple[str, ...]:
    """Return the collections that receive every deletion: all write targets, the live one first, and the copies."""
    collections, copies = targets()
    return (*collections, *copies)


def copy_name() -> str:
    """Return the name of the copy that is retained when a collection with the alias's name is adopted."""
    return f"{collection_name()}{COPY_SUFFIX}"


@cache
def _targets() -> tuple[str, tuple[Any, ...]]:
    """Return the statement and its parameters, the alias first.

    It is built once per process. Building it twice per batch would take a tenth of the batch's time.
    """
    live_first = Case(When(state=State.LIVE, then=Value(0)), default=Value(1))
    found = VectorCollection.objects.of("").exclude(state=State.FAILED).order_by(live_first, "name")
    return found.values_list("name").query.sql_with_params()


def complete_targets() -> frozenset[str]:
    """Return the write targets that are completely built.

    A building collection may lose points, and it may have replaced another collection of the same name.
    """
    return frozenset(rows().write_targets().exclude(state=State.BUILDING).values_list("name", flat=True))


def live() -> str | None:
    """Return the collection that the alias points to according to the registry."""
    return rows().filter(state=State.LIVE).values_list("name", flat=True).first()


def register(name: str, state: VectorCollection.State, definition_hash: str) -> None:
    """Insert or update the row of a collection. After the commit every worker writes to it, unless its state is FAILED."""
    with short_transaction():
        VectorCollection.objects.update_or_create(
            name=name,
            defaults={
                "alias": collection_name(),
                "state": state,
                "definition_hash": definition_hash,
                "app_version": __version__,
                "live_since": TransactionNow() if state == State.LIVE else None,
                "retain_until": None,
                "failure_reason": "",
            },
        )


def reserve(name: str, definition_hash: str) -> None:
    """Register a collection before it is created, as FAILED, so that no worker writes to it yet.

    If the process is killed, the row makes sure that the collection is dropped.
    """
    with short_transaction():
        register(name, State.FAILED, definition_hash)
        VectorCollection.objects.filter(name=name).update(failure_reason=NOT_CREATED)
        StoreState.remove_sentinels_of(name)


def mark_failed(name: str, why: str, *, include_ready: bool = False) -> bool:
    """Mark a building or retained collection as failed, so workers stop writing it. Return whether its state changed.

    With ``include_ready``, a ready collection can fail too. The caller has checked that the alias does not point to it.
    """
    failing = [State.BUILDING, State.RETAINED, *([State.READY] if include_ready else [])]
    with short_transaction():
        failed = VectorCollection.objects.filter(name=name, state__in=failing).update(state=State.FAILED, failure_reason=why)
    if failed == 0:
        return False
    log.warning("The collection %s is marked as failed and will be dropped: %s", name, why)
    return True


def is_ready(name: str) -> bool:
    """Return whether the collection has passed its acceptance check and is not live according to the registry."""
    return VectorCollection.objects.filter(name=name, state=State.READY).exists()


def unfinished() -> VectorCollection | None:
    """Return the newest collection that is being built, or whose build was interrupted."""
    found = rows().filter(state__in=[State.BUILDING, State.READY], live_since=None)
    return found.order_by("-created_at", "-name").first()


def retain_copy(name: str, retain: timedelta) -> None:
    """Mark the copy as retained for ``retain``, and queue a scan for points of users who were deleted while it was made.

    After the commit it receives every deletion.
    """
    with short_transaction():
        rows().filter(name=name).update(state=State.RETAINED, retain_until=_from_now(retain), failure_reason="")
        enqueue_orphan_scan()


def build(name: str) -> None:
    """Mark a collection as building, when a build starts or resumes. After the commit every worker writes to it, until it fails."""
    with short_transaction():
        rows().filter(name=name).update(state=State.BUILDING, failure_reason="")


def retained() -> list[str]:
    """Return the retained collections, the newest first. A copy from before an adoption is the oldest."""
    return sorted(rows().filter(state=State.RETAINED).values_list("name", flat=True), key=number_of, reverse=True)


def last_retained() -> VectorCollection | None:
    """Return the newest retained collection."""
    return rows().filter(name__in=retained()[:1]).first()


def expired() -> list[str]:
    """Return the collections to drop: failed ones, and retained ones whose retention is over.

    A retained collection without ``retain_until`` stays.
    """
    over = Q(state=State.RETAINED, retain_until__lte=TransactionNow())
    return list(rows().filter(over | Q(state=State.FAILED)).order_by("name").values_list("name", flat=True))


def may_hold_others_points(name: str) -> bool:
    """Return whether the collection was ever live, so that other programs may have written to it through the alias."""
    return rows().filter(Q(live_since__isnull=False) | Q(state=State.RETAINED), name=name).exists()


def all_but_live() -> list[str]:
    """Return the collections that are not searched."""
    return list(rows().exclude(state=State.LIVE).order_by("name").values_list("name", flat=True))


def prepare(name: str, retain: timedelta | None) -> None:
    """Record that the alias is about to move to ``name``. Raise AliasNotMoved if ``name`` has failed in the meantime or was dropped.

    ``name`` becomes ready: it no longer fails like a building collection. The live collection gets the time until which it will be retained (None:
    until an operator drops it).
    """
    with short_transaction():
        ready = rows().filter(name=name, state__in=[State.BUILDING, State.READY, State.RETAINED]).update(state=State.READY)
        rows().filter(state=State.LIVE).update(retain_until=None if retain is None else _from_now(retain))
    if ready == 0:
        raise AliasNotMoved(
            f"{name!r} was marked as failed while it was being compared", "Check the reason in the admin, then run this command again."
        )


def reconcile(target: str) -> bool:
    """Mark ``target``, to which the alias points, as live, and the previous live collection as retained. Return whether the rows changed.

    The caller holds ``collection_lock``. Raise VectorCollection.DoesNotExist if ``target`` is not in the registry. A caller's transaction, such as
    that of an erasure, keeps its own timeouts.
    """
    with transaction.atomic() if connection.in_atomic_block else short_transaction():
        before = rows().select_for_update().get(name=target).state
        if before == State.LIVE:
            rows().filter(name=target).update(retain_until=None)
            rows().filter(state=State.READY, live_since__isnull=False).update(state=State.RETAINED)
            return False
        rows().filter(state=State.LIVE).update(state=State.RETAINED)
        rows().filter(name=target).update(state=State.LIVE, live_since=TransactionNow(), retain_until=None, failure_reason="")
        if before == State.FAILED:
            _queue_missed_changes()
        return True


def mark_for_deletion(name: str) -> None:
    """Mark a collection as failed before it is dropped, so that no worker writes to it from now on."""
    with short_transaction():
        rows().filter(name=name).exclude(state__in=[State.LIVE, State.FAILED]).update(state=State.FAILED, failure_reason=BEING_DROPPED)


def remove(name: str) -> None:
    """Delete the row of a collection that was dropped. Its number may be used again."""
    with short_transaction():
        rows().filter(name=name, state=State.FAILED).delete()
        StoreState.remove_sentinels_of(name)


def next_name(existing: Iterable[str]) -> str:
    """Return the name for the next collection, with a number above those of ``existing`` and of the registry."""
    return f"{collection_name()}_v{max(map(number_of, [*existing, *rows().values_list('name', flat=True)]), default=0) + 1}"


def number_of(name: str) -> int:
    """Return N of ``<alias>_vN``, and 0 for any other name."""
    found = re.fullmatch(rf"{re.escape(collection_name())}_v([1-9][0-9]*)", name)
    return int(found[1]) if found else 0


def _queue_missed_changes() -> None:
    """Queue all users and an orphan scan, because the live collection received no writes while it was failed."""
    enqueue_everyone()
    enqueue_orphan_scan()


def _from_now(duration: timedelta) -> ExpressionWrapper[CombinedExpression]:
    return ExpressionWrapper(TransactionNow() + Value(duration), output_field=DateTimeField())
