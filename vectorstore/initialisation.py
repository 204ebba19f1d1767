"""Make the collection as it is declared, and prove it: what ``init_qdrant`` does."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from qdrant_client import QdrantClient
from qdrant_client.models import CollectionStatus

from findme.console.errors import NotDone
from vectorstore import registry
from vectorstore.collection import DECLARATION, name_taken, not_ours, way_out
from vectorstore.connection import collection_name, qdrant
from vectorstore.models import StoreState, VectorCollection
from vectorstore.plan import Comparison, Plan, apply, plan
from vectorstore.registry import State
from vectorstore.sync.queue import enqueue_everyone

GREEN_SECONDS = 60.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Initialised:
    """What was planned, which is now done and read back, and how Qdrant was at the end: ``yellow`` while it still builds graphs."""

    planned: Plan
    status: str

    @property
    def green(self) -> bool:
        return self.status == "green"


def compare() -> Plan:
    """How the live collection compares with the declaration. Changes nothing."""
    with qdrant() as client:
        return plan(client)


def initialise(announce: Callable[[Plan], None], *, green_seconds: float = GREEN_SECONDS) -> Initialised:
    """Make what is missing and change what can be changed in place, after ANNOUNCE was told; one at a time.

    Raises NotDone, with nothing touched, for what cannot be changed in place; and where Qdrant says that all is done and it is not.
    """
    with qdrant() as client, _alone():
        planned = plan(client)
        refuse_incompatible(planned)
        announce(planned)
        if planned.differs("collection "):
            _begin(planned.collection)
        if planned.differences:
            apply(client, planned, metadata())
            _prove(client)
        _note(planned.collection)
        return Initialised(planned, _settled(client, planned.collection, green_seconds))


def metadata() -> dict[str, Any]:
    """What a collection says of itself: whose it is, and what it was declared as by which release."""
    return {
        "findme_database": str(StoreState.current().database_id),
        "findme_declaration": DECLARATION.hash(),
        "findme_release": registry.release(),
    }


def _begin(collection: str) -> None:
    """It is about to be made. Nobody writes it until it is noted as live; killed before that, the next run queues everyone all the same."""
    registry.register(collection, State.FAILED, DECLARATION.hash())


def _note(collection: str) -> None:
    """What has just become live is written from now on, and is told of everyone: in one transaction, so that neither is forgotten."""
    if registry.live() == collection:
        return
    with transaction.atomic():
        VectorCollection.objects.of(collection_name()).filter(state=State.LIVE).update(state=State.KEPT)
        registry.register(collection, State.LIVE, DECLARATION.hash())
        enqueue_everyone()


def refuse_incompatible(planned: Plan) -> None:
    """Raises NotDone, with what to do, where something cannot be changed in place."""
    for found in planned.incompatible:
        raise NotDone(_what_to_do(planned, found))


def _what_to_do(planned: Plan, found: Comparison) -> str:
    if found.what.startswith("alias "):
        return not_ours(str(found.live))
    name = planned.alias if found.what.startswith("name ") else planned.collection
    why = name_taken() if found.what.startswith("name ") else f"In {name!r}, {found}"
    return f"{why}: nothing was changed. {way_out(name)}"


def _prove(client: QdrantClient) -> None:
    """An answer is no proof: Qdrant says yes to several changes that it does not make."""
    left = plan(client).differences
    if left:
        raise NotDone(f"Qdrant says that it is done, and {left[0]}: look at its log, and run manage.py init_qdrant again.")


def _settled(client: QdrantClient, collection: str, seconds: float) -> str:
    """The collection's status when it is green, or when SECONDS are over."""
    deadline = time.monotonic() + seconds
    while True:
        found = client.get_collection(collection)
        if found.status is CollectionStatus.RED:
            reason = getattr(found.optimizer_status, "error", found.optimizer_status)
            raise NotDone(f"Qdrant reports the collection {collection!r} as red ({reason}): look at its log.")
        if found.status is CollectionStatus.GREEN or time.monotonic() >= deadline:
            return str(found.status)
        time.sleep(POLL_SECONDS)


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time for this collection and database: a lock that is polled, so that nobody holds a snapshot while waiting."""
    key = lock_key()
    deadline = time.monotonic() + settings.MIGRATE_LOCK_SECONDS
    while not _ask("SELECT pg_try_advisory_lock(%s)", key):
        if time.monotonic() >= deadline:
            raise NotDone(f"Another init_qdrant has been running for {settings.MIGRATE_LOCK_SECONDS:g} s: wait for it, and run it again.")
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(InterfaceError, OperationalError):  # the lock is gone with the session
            _ask("SELECT pg_advisory_unlock(%s)", key)


def lock_key() -> int:
    """The advisory lock of this collection's name: 64 bits of a hash."""
    return int.from_bytes(hashlib.sha256(f"findme collection {collection_name()}".encode()).digest()[:8], signed=True)


def _ask(statement: str, key: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, [key])
        return bool(cursor.fetchone()[0])
