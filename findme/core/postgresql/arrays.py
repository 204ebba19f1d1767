"""Many ids for PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID


def uuid_array(ids: Iterable[UUID]) -> str:
    """A ``uuid[]`` as text: the driver would look at each element of a list by itself, which takes an eighth of the time of a batch."""
    return "{" + ",".join([one.hex for one in ids]) + "}"
