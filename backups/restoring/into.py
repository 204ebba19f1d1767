"""A connection to another database than that of ``DATABASE_URL``, for a copy."""

from __future__ import annotations

from django.db import connection
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from findme.core.errors import UserFacingError

KEYS = {"NAME": "dbname", "USER": "user", "HOST": "host", "PORT": "port"}
FORM = "postgresql://USER@HOST:PORT/NAME"


def connection_into(url: str) -> BaseDatabaseWrapper:
    """Return a connection to the database at ``url``, which need not exist. Raises UserFacingError for a text that is no such URL, or has a password.

    A command line is public, so the password comes from PGPASSWORD or from libpq's password file.
    """
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except (ProgrammingError, UnicodeError):  # libpq quotes the part that it cannot read, which may be the password
        parameters = {}
    if not url.startswith(("postgresql://", "postgres://")) or not parameters.get("dbname"):
        raise UserFacingError(f"--into is not a URL with a database: nothing was restored. Write {FORM}.")
    if "password" in parameters:
        raise UserFacingError(
            "--into has a password, which other users of this machine can see: nothing was restored. Set PGPASSWORD, or use ~/.pgpass."
        )
    found: BaseDatabaseWrapper = connection.copy(NO_DB_ALIAS)  # see connection_to
    found.settings_dict.update({key: parameters.pop(name, "") for key, name in KEYS.items()} | {"PASSWORD": ""})
    found.settings_dict["OPTIONS"] = {**found.settings_dict["OPTIONS"], **parameters}
    return found
