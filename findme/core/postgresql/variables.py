"""The environment variables of libpq.

The embedded server ignores them. For ``DATABASE_URL``, libpq reads them as usual.
"""

from __future__ import annotations

import os
import re

from psycopg import pq

VARIABLE = re.compile("PG[A-Z]")
NOT_AN_OPTION = frozenset({"PGSERVICEFILE", "PGSYSCONFDIR", "PGREQUIRESSL", "PGDATESTYLE", "PGTZ", "PGGEQO"})
"""libpq reads these variables too, but no connection option stands for them."""


def options() -> dict[str, str | None]:
    """Return the connection options of this libpq, each with the name of its environment variable or None."""
    return {option.keyword.decode(): option.envvar.decode() if option.envvar else None for option in pq.Conninfo.get_defaults()}


def variables_in_environment() -> list[str]:
    """Return the names of the environment variables that libpq reads. Their values can be secret."""
    known = NOT_AN_OPTION.union(filter(None, options().values()))
    return sorted(name for name in known if name in os.environ)


def unset_variables() -> None:
    """Remove all PostgreSQL variables from the environment of this process and of its child processes.

    This is for a connection that must reach one specific server. A connection parameter cannot do it: libpq reads ``PGSERVICE`` in every case.
    """
    for name in filter(VARIABLE.match, list(os.environ)):
        del os.environ[name]
