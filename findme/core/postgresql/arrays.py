"""Arrays as query parameters."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID


def uuid_array(ids: Iterable[UUID]) -> str:
    """Return the ids as the text of a ``uuid[]``.

    For a list, psycopg adapts each element, which takes an eighth of the time of a batch.
    """
    return "{" + ",".join([one.hex for one in ids]) + "}"


def bytea_array(values: Iterable[bytes]) -> str:
    """Return the values as the text of a ``bytea[]``."""
    return "{" + ",".join([f'"\\\\x{one.hex()}"' for one in values]) + "}"


def integer_array(values: Iterable[int]) -> str:
    """Return the values as the text of a ``bigint[]``."""
    return "{" + ",".join(map(str, values)) + "}"
