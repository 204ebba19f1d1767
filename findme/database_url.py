"""``DATABASE_URL`` as Django's settings, read by libpq's own rules: so it means the same here as to ``psql`` and ``pg_dump``."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote

from django.core.exceptions import ImproperlyConfigured
from psycopg import IsolationLevel, ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from findme.postgresql.variables import options

FORM = "postgresql://USER:PASSWORD@HOST:PORT/NAME, or postgresql:///NAME?host=FOLDER for a socket"
ESCAPES = "in a user's name or a password write @ : / ? # % as %40 %3A %2F %3F %23 %25"
UNREADABLE = f"DATABASE_URL cannot be read: it must be {FORM}, with parameters of libpq after a ?; {ESCAPES}."
PATIENCE = {
    "connect_timeout": "10",
    "tcp_user_timeout": "60000",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
"""How long a server that does not answer is waited for (seconds, milliseconds, seconds), where the URL does not say: without it a host that has
vanished is for hours."""
SCHEMA = " Another schema is chosen with options=-csearch_path%3DNAME."
WHOLE_NUMBERS = ("connect_timeout", "tcp_user_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count")
WHOLE_NUMBER = re.compile(r"\s*[-+]?[0-9]{1,9}\s*")
ALSO_ACCEPTED = frozenset({"ssl"})
"""libpq reads ``ssl=true``, as JDBC writes it, as ``sslmode=require``."""
ISOLATION = IsolationLevel.READ_COMMITTED
"""Of every transaction, whatever the server, the role or the URL have for a default: who waits for a lock is to see what is committed by then."""


def database_settings(url: str) -> dict[str, Any]:
    """The entry of ``DATABASES`` for a ``postgresql://`` URL; what Django has no key for (``sslmode`` ...) goes to libpq as it is.

    Raises ImproperlyConfigured, never with the URL, which may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgresql", "postgres"):
        raise ImproperlyConfigured(
            f"DATABASE_URL {f'begins with {scheme!r}' if scheme.isalnum() and separator else 'is no URL'}: it must be {FORM}."
        )
    server, _, name = rest.partition("/")
    if (
        server.count("@") > 1 or "@" in name.partition("?")[0]
    ):  # libpq would take the end of the password for the host, and say it in an error
        raise ImproperlyConfigured(f"DATABASE_URL has an @ too many: {ESCAPES}.")
    parameters = _parameters(url)
    if not parameters.get("dbname") and "service" not in parameters:
        raise ImproperlyConfigured(f"DATABASE_URL names no database: it must be {FORM}.")
    keys = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    settings = {key: parameters.pop(parameter, "") for key, parameter in keys.items()}
    options_of_libpq = {**PATIENCE, **parameters, "isolation_level": ISOLATION}
    return {"ENGINE": "findme.postgresql", **settings, "OPTIONS": options_of_libpq}


def _parameters(url: str) -> dict[str, str]:
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except (ProgrammingError, UnicodeError):  # libpq's words repeat what it does not understand, which may be the password
        raise ImproperlyConfigured(_unknown_parameter(url) or UNREADABLE) from None
    if not all(port.isdigit() for port in parameters.get("port", "").split(",") if port):
        raise ImproperlyConfigured(UNREADABLE)
    for name in WHOLE_NUMBERS:
        if not WHOLE_NUMBER.fullmatch(value := parameters.get(name, "0")):
            raise ImproperlyConfigured(f"DATABASE_URL has {name}={value!r}: it must be a whole number.")
    return parameters


def _unknown_parameter(url: str) -> str | None:
    """Name the first parameter that libpq does not know; None if the URL is unreadable for another reason.

    A question mark in front of an @ may be a part of the password, and then what follows is no parameter.
    """
    _, question_mark, query = url.partition("?")
    if not question_mark or "@" in query:
        return None
    known = ALSO_ACCEPTED.union(options())
    for part in query.split("&"):
        name, equals, _ = part.partition("=")
        name = unquote(name)
        if name not in known and equals and re.fullmatch("[A-Za-z_]+", name):
            near = get_close_matches(name.lower(), known, n=1, cutoff=0.75)
            return f"DATABASE_URL has the parameter {name!r}, which libpq does not know. " + (
                f"Did you mean {near[0]!r}?" if near else f"Remove it.{SCHEMA if name.lower() == 'schema' else ''}"
            )
    return None
