"""Finding rows by a UUID: their own, or that of somebody or something they belong to."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q


def uuid_in(text: str) -> UUID | None:
    """The UUID that TEXT is, in any of its spellings; None for another text."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None


def refers_to(identifier: UUID, lookups: tuple[str, ...]) -> Q:
    """A condition: one of LOOKUPS is IDENTIFIER. With an index on each, PostgreSQL reads those."""
    return Q.create([(lookup, identifier) for lookup in lookups], connector=Q.OR)
