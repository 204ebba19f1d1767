"""The connection of a program of PostgreSQL: to the server, the database and the role of a session of Django."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.conninfo import make_conninfo

from findme.core.errors import UserFacingError
from findme.core.postgresql.variables import NOT_AN_OPTION, options

SECRET = frozenset({"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})
SETTINGS = frozenset({"PGDATESTYLE", "PGTZ", "PGGEQO"})
"""Variables that change settings of a session, and not where it connects. A program inherits them, as Django does."""


@dataclass(frozen=True, slots=True)
class ProgramConnection:
    """The whole environment of the program, which is secret, and the argument for its option ``--dbname``, which is not."""

    environment: dict[str, str] = field(repr=False)
    conninfo: str


@dataclass(frozen=True, slots=True)
class Login:
    """Another role than that of the connection of Django."""

    user: str
    password: str = field(repr=False)


def program_connection(connection: BaseDatabaseWrapper, database: str | None = None, login: Login | None = None) -> ProgramConnection:
    """Return how a program connects to the server of ``connection``, and to its database or to ``database``, as its role or as that of ``login``.

    Takes the parameters that libpq has used. ``get_connection_params`` would not suffice. If it names several hosts, the program could reach another
    server, which does not have the snapshot. If it names a service, the parameters of the service would win over the environment.

    Raises UserFacingError for a secret parameter that has no environment variable: a command line is public.
    """
    variables = options()
    environment = environment_without_variables()
    arguments: dict[str, str] = {}
    for name, value in connection_parameters(connection).items():
        if name == "dbname":
            arguments[name] = database or value
        elif (variable := variables[name]) is not None:
            environment[variable] = value
        elif name in SECRET:
            raise UserFacingError(
                f"The parameter {name!r} of DATABASE_URL cannot be given to PostgreSQL's programs in secret. Use a key file without it."
            )
        else:
            arguments[name] = value
    if login is not None:
        environment |= {"PGUSER": login.user, "PGPASSWORD": login.password}
    return ProgramConnection(environment, make_conninfo(**arguments))


def connection_parameters(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the parameters that libpq uses for the connection, the password among them, without those that libpq has by itself.

    Opens the connection if necessary.
    """
    connection.ensure_connection()
    found = {
        option.keyword.decode(): option.val.decode()
        for option in connection.connection.pgconn.info
        if option.val is not None and option.val != option.compiled
    }
    for name in ("service", "servicefile"):
        found.pop(name, None)
    return found


def environment_without_variables() -> dict[str, str]:
    """Return the environment without the variables of libpq: they are among the parameters of the connection already."""
    removed = (NOT_AN_OPTION - SETTINGS).union(filter(None, options().values()))
    return {name: value for name, value in os.environ.items() if name not in removed}
