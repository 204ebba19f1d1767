"""Which collections are written, as PostgreSQL has it: a row for each, under the alias that leads, will lead, or led to it.

The alias in Qdrant says which one is searched. It and the row that says so cannot change in one transaction: ``reconcile`` brings the rows after it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from typing import Any

from django.contrib.postgres.functions import TransactionNow
from django.db import connection, transaction
from django.db.models import Case, ExpressionWrapper, Q, Value, When
from django.db.models.expressions import CombinedExpression
from django.db.models.fields import DateTimeField

from findme.core.version import __version__
from vectorstore.models import StoreState, VectorCollection
from vectorstore.models.collections import VectorCollectionQuerySet
from vectorstore.qdrant.connection import collection_name
from vectorstore.queue.entries import enqueue_everyone, enqueue_orphan_scan
from vectorstore.queue.transactions import short_transaction

State = VectorCollection.State
log = logging.getLogger(__name__)

UNMADE = "it has not been made yet"
UNWANTED = "it is being dropped"


def rows() -> VectorCollectionQuerySet:
    """The collections of the alias."""
    return VectorCollection.objects.of(collection_name())


def write_targets() -> tuple[str, ...]:
    """The collections that every change is told to, the live one first."""
    statement, (_, *parameters) = _write_targets()
    with connection.cursor() as cursor:
        cursor.execute(statement, [collection_name(), *parameters])
        return tuple(name for (name,) in cursor.fetchall())


@cache
def _write_targets() -> tuple[str, tuple[Any, ...]]:
    """The statement and its parameters, the alias first: put together once, and not twice a batch, which would take a tenth of its time."""
    live_first = Case(When(state=State.LIVE, then=Value(0)), default=Value(1))
    return VectorCollection.objects.of("").write_targets().order_by(live_first, "name").values_list("name").query.sql_with_params()


def complete_targets() -> frozenset[str]:
    """Those of them that are not being built: of one that is, points may go, and it may be another one than before of its name."""
    return frozenset(rows().write_targets().exclude(state=State.BUILDING).values_list("name", flat=True))


def live() -> str | None:
    """The collection that the alias leads to, as far as it has been written down."""
    return rows().filter(state=State.LIVE).values_list("name", flat=True).first()


def register(name: str, state: VectorCollection.State, definition_hash: str) -> None:
    """Note a collection, or what has become of it. From the commit on every worker writes it, unless it has failed."""
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
    """Note a collection that is about to be made: nobody writes it yet, and whoever dies over it leaves nothing that nobody knows of."""
    with short_transaction():
        register(name, State.FAILED, definition_hash)
        VectorCollection.objects.filter(name=name).update(failure_reason=UNMADE)
        StoreState.remove_sentinels_of(name)


def mark_failed(name: str, why: str, *, include_ready: bool = False) -> bool:
    """Mark as failed a collection that nobody searches: nobody writes it any more. Whether it was one; INCLUDE_READY says that one which is ready is none either
    that is searched."""
    failing = [State.BUILDING, State.RETAINED, *([State.READY] if include_ready else [])]
    with short_transaction():
        failed = VectorCollection.objects.filter(name=name, state__in=failing).update(state=State.FAILED, failure_reason=why)
    if failed == 0:
        return False
    log.warning("The collection %s is marked as failed and will be dropped: %s", name, why)
    return True


def is_ready(name: str) -> bool:
    """Whether NAME was proven whole, and is not known to be searched."""
    return VectorCollection.objects.filter(name=name, state=State.READY).exists()


def unfinished() -> VectorCollection | None:
    """The newest one that is being built, or was when somebody died over it."""
    found = rows().filter(state__in=[State.BUILDING, State.READY], live_since=None)
    return found.order_by("-created_at", "-name").first()


def build(name: str) -> None:
    """It is being built, or somebody goes on with it: from the commit on every worker writes it, until it fails."""
    with short_transaction():
        rows().filter(name=name).update(state=State.BUILDING, failure_reason="")


def retained() -> list[str]:
    """Those that were live and are still written, the newest first."""
    return sorted(rows().filter(state=State.RETAINED).values_list("name", flat=True), key=number_of, reverse=True)


def last_retained() -> VectorCollection | None:
    """The newest of them."""
    return rows().filter(name__in=retained()[:1]).first()


def expired() -> list[str]:
    """Those that are to be dropped: retained for as long as was said, or failed. Of which nobody has said how long they are retained, they stay."""
    over = Q(state=State.RETAINED, retain_until__lte=TransactionNow())
    return list(rows().filter(over | Q(state=State.FAILED)).order_by("name").values_list("name", flat=True))


def may_hold_others_points(name: str) -> bool:
    """Whether the alias has led to the collection, so that other programs may have written into it."""
    return rows().filter(Q(live_since__isnull=False) | Q(state=State.RETAINED), name=name).exists()


def all_but_live() -> list[str]:
    """Those that nobody searches."""
    return list(rows().exclude(state=State.LIVE).order_by("name").values_list("name", flat=True))


def prepare(name: str, retain: timedelta | None) -> bool:
    """The alias is about to be moved to NAME: from now on it does not fail like a building one, and it is told of the one that is searched how
    long it is retained then (None: until somebody drops it). False where NAME is none that may be searched: it has failed meanwhile, or is gone."""
    with short_transaction():
        ready = rows().filter(name=name, state__in=[State.BUILDING, State.READY, State.RETAINED]).update(state=State.READY)
        rows().filter(state=State.LIVE).update(retain_until=None if retain is None else _from_now(retain))
    return ready == 1


def reconcile(target: str) -> bool:
    """The alias leads to TARGET: it is live, and the one that was is retained. Whether the rows said otherwise.

    Only for one at a time (``collection_lock``). Raises VectorCollection.DoesNotExist where nobody has noted TARGET. Inside a caller's transaction, as
    an erasure's, that one keeps its own timeouts.
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
            _catch_up()
        return True


def mark_for_deletion(name: str) -> None:
    """NAME is about to be dropped: nobody writes it from now on."""
    with short_transaction():
        rows().filter(name=name).exclude(state__in=[State.LIVE, State.FAILED]).update(state=State.FAILED, failure_reason=UNWANTED)


def remove(name: str) -> None:
    """NAME is gone, and its number free."""
    with short_transaction():
        rows().filter(name=name, state=State.FAILED).delete()
        StoreState.remove_sentinels_of(name)


def next_name(existing: Iterable[str]) -> str:
    """The name for a collection to come: one more than any among EXISTING and the rows."""
    return f"{collection_name()}_v{max(map(number_of, [*existing, *rows().values_list('name', flat=True)]), default=0) + 1}"


def number_of(name: str) -> int:
    """N of ``<alias>_vN``; 0 of any other name."""
    found = re.fullmatch(rf"{re.escape(collection_name())}_v([1-9][0-9]*)", name)
    return int(found[1]) if found else 0


def _catch_up() -> None:
    """What nobody wrote for a while is searched: everybody is written again, and whoever is gone is looked for."""
    enqueue_everyone()
    enqueue_orphan_scan()


def _from_now(duration: timedelta) -> ExpressionWrapper[CombinedExpression]:
    return ExpressionWrapper(TransactionNow() + Value(duration), output_field=DateTimeField())
