"""A limit for each statement, kept by the client: a frozen server does not obey its own ``statement_timeout``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.errors import _WaitTimeout

_limit: ContextVar[float | None] = ContextVar("statement_limit", default=None)


@contextmanager
def statement_limit(seconds: float | None) -> Iterator[None]:
    """Raise OperationalError from each statement in the block that gets no answer within ``seconds``, and from each attempt to connect.

    None lifts the limit of an outer block.
    """
    token = _limit.set(seconds)
    try:
        yield
    finally:
        _limit.reset(token)


def limited_timeout(connect_timeout: str | None) -> dict[str, int]:
    """Return libpq's parameter for the limit, or nothing if ``connect_timeout`` is shorter. For libpq, 0 means no timeout."""
    limit = _limit.get()
    return {} if limit is None or 0 < float(connect_timeout or 0) < limit else {"connect_timeout": math.ceil(limit)}


class LimitedConnection(psycopg.Connection[Any]):
    """A connection that obeys ``statement_limit``. Everything that is sent to PostgreSQL, commits too, waits in ``wait``."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, limit := _limit.get())
        except _WaitTimeout:
            # The statement may still run in the server, so this connection is of no more use.
            self.close()
            raise psycopg.OperationalError(f"it has not answered for {limit:g} s") from None
