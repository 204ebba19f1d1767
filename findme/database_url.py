"""``DATABASE_URL`` as Django's settings, read by libpq's rules, so it means the same as for ``psql`` and ``pg_dump``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from psycopg import IsolationLevel, ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from findme.database_parameters import url_problem, value_problem

FORM = "postgresql://USER:PASSWORD@HOST:PORT/NAME, or postgresql:///NAME?host=FOLDER for a socket"
ESCAPES = "in a user name or password, write @ : / ? # % as %40 %3A %2F %3F %23 %25"
UNREADABLE = f"DATABASE_URL cannot be read: it must be {FORM}, with parameters of libpq after a ?; {ESCAPES}."
CONNECTION_TIMEOUTS = {
    "connect_timeout": "10",
    "tcp_user_timeout": "60000",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
"""Defaults for how long to wait for a server that does not answer (seconds; ``tcp_user_timeout`` in milliseconds).

Without them a client waits for hours for a host that has disappeared.
"""
ISOLATION = IsolationLevel.READ_COMMITTED
"""The isolation of every transaction, whatever the default of the server, the role or the URL.

A transaction that waited for a lock must see what was committed in the meantime.
"""


def database_settings(url: str) -> dict[str, Any]:
    """Return the entry of ``DATABASES`` for a ``postgresql://`` URL. Parameters without a key in Django (``sslmode`` ...) go to libpq.

    Raises ImproperlyConfigured, never with the URL, which may contain a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgresql", "postgres"):
        raise ImproperlyConfigured(
            f"DATABASE_URL {f'begins with {scheme!r}' if scheme.isalnum() and separator else 'is not a URL'}: it must be {FORM}."
        )
    server, _, name = rest.partition("/")
    # libpq would take the end of the password for the host, and show it in an error.
    if server.count("@") > 1 or "@" in name.partition("?")[0]:
        raise ImproperlyConfigured(f"DATABASE_URL has one @ too many: {ESCAPES}.")
    parameters = _parameters(url)
    if not parameters.get("dbname") and "service" not in parameters:
        raise ImproperlyConfigured(f"DATABASE_URL names no database: it must be {FORM}.")
    keys = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    settings = {key: parameters.pop(parameter, "") for key, parameter in keys.items()}
    options_of_libpq = {**CONNECTION_TIMEOUTS, **parameters, "isolation_level": ISOLATION}
    return {"ENGINE": "findme.core.postgresql", **settings, "OPTIONS": options_of_libpq}


def server_and_name(settings: Mapping[str, Any]) -> str:
    """Return host, port and name of the database of ``database_settings`` as a part of a file name."""
    parts = (settings["HOST"] or "local", settings["PORT"], settings["NAME"] or settings["OPTIONS"].get("service", ""))
    return re.sub(r"[^\w.]+", "-", "-".join(filter(None, parts))).strip("-")


def _parameters(url: str) -> dict[str, str]:
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except (ProgrammingError, UnicodeError):  # libpq's error quotes the part that it cannot read, which may be the password
        raise ImproperlyConfigured(url_problem(url) or UNREADABLE) from None
    if wrong := value_problem(url, parameters):
        raise ImproperlyConfigured(wrong)
    if not all(port.strip().isdigit() for port in parameters.get("port", "").split(",") if port):
        raise ImproperlyConfigured(UNREADABLE)  # an unescaped password can be read as the port
    return parameters
