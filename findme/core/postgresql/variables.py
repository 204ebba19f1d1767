"""The environment variables of libpq: the embedded server ignores them, and for a ``DATABASE_URL`` libpq reads them as it always does."""

from __future__ import annotations

import os
import re

from psycopg import pq

VARIABLE = re.compile("PG[A-Z]")
NOT_AN_OPTION = frozenset({"PGSERVICEFILE", "PGSYSCONFDIR", "PGREQUIRESSL", "PGDATESTYLE", "PGTZ", "PGGEQO"})
"""libpq reads these too, but they belong to no option of a connection."""


def options() -> dict[str, str | None]:
    """Return the name of each option of a connection that this libpq knows, with the name of its variable if it has one."""
    return {option.keyword.decode(): option.envvar.decode() if option.envvar else None for option in pq.Conninfo.get_defaults()}


def variables_that_are_set() -> list[str]:
    """Return the names of the variables in the environment that this libpq reads. Their values may be secret."""
    known = NOT_AN_OPTION.union(filter(None, options().values()))
    return sorted(name for name in known if name in os.environ)


def forget_variables() -> None:
    """Remove every variable of PostgreSQL from the environment of this process and of the programs that it starts.

    For a connection that must reach one server and no other. A parameter cannot do it: ``PGSERVICE`` counts even if no service is asked for.
    """
    for name in filter(VARIABLE.match, list(os.environ)):
        del os.environ[name]
