"""Search for rows by a UUID: their own, or the UUID of a row that they refer to."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q


def parse_uuid(text: str) -> UUID | None:
    """Return the UUID in ``text``, in any of its notations, or None if it is not a UUID."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None


def refers_to(identifier: UUID, lookups: tuple[str, ...]) -> Q:
    """Return the condition that one of ``lookups`` is ``identifier``. PostgreSQL combines their indexes."""
    return Q.create([(lookup, identifier) for lookup in lookups], connector=Q.OR)
