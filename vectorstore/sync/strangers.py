"""After a TRUNCATE nobody knows whom it took: every point is asked for its person (protocol, rule 1)."""

from __future__ import annotations

from uuid import UUID

from django.db import connection
from qdrant_client.models import PointIdsList, WriteOrdering

from vectorstore.connection import qdrant
from vectorstore.models import SetAside
from vectorstore.projection import entitled
from vectorstore.purge.removals import note_removal
from vectorstore.scrolled import pages
from vectorstore.sync.beside import given_up_where_it_fails
from vectorstore.sync.claim import Claim
from vectorstore.sync.lease import renew
from vectorstore.sync.queue import EVERYBODY, enqueue
from vectorstore.sync.stopping import may_take_long

PAGE_SIZE = 1000
"""Ids of points that are read at a time."""


def look_for_strangers(claim: Claim) -> int:
    """Queue, urgently, everybody who has a point and is to have none; how many they are. Raises StoreUnavailable, and LeaseLost.

    And everybody who is leased: their holder may have read their rows before they were taken, and write after their page was read here. And
    whoever is set aside, for nothing any more: no change of theirs is to come.
    """
    live, *others = claim.collections
    aside = SetAside.objects.exclude(pk__in=entitled().values("pk")).values_list("pk", flat=True)
    with may_take_long():
        queued = enqueue(_leased(claim), urgent=True) + enqueue(aside, urgent=True)
    queued += _look_through(claim, live)
    for collection in others:
        with given_up_where_it_fails(collection):
            queued += _look_through(claim, collection)
    return queued


def _look_through(claim: Claim, collection: str) -> int:
    queued = 0
    for page in pages(collection, PAGE_SIZE, with_payload=False, with_vectors=False):
        renew(claim)
        people = {UUID(record.id) for record in page if isinstance(record.id, str)}
        if EVERYBODY in people:
            _delete_nobodys(collection)
            people.remove(EVERYBODY)
        strangers = people - set(entitled().filter(pk__in=people).values_list("pk", flat=True))
        queued += enqueue(sorted(strangers), urgent=True)
    return queued


def _delete_nobodys(collection: str) -> None:
    """The point of an id that stands for everybody on the queue: no worker comes to it as to a person's."""
    with qdrant() as client:
        note_removal()
        client.delete(collection, PointIdsList(points=[str(EVERYBODY)]), wait=True, ordering=WriteOrdering.MEDIUM)


def _leased(claim: Claim) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT user_id FROM vector_sync_leases WHERE worker <> %s", [claim.worker])
        return [row[0] for row in cursor.fetchall()]
