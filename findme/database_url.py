"""``DATABASE_URL`` as Django's settings, read by libpq's own rules: so it means the same here as to ``psql`` and ``pg_dump``."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from psycopg import IsolationLevel, ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from findme.database_parameters import why_unreadable, why_unusable

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
    return {"ENGINE": "findme.core.postgresql", **settings, "OPTIONS": options_of_libpq}


def _parameters(url: str) -> dict[str, str]:
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except (ProgrammingError, UnicodeError):  # libpq's words repeat what it does not understand, which may be the password
        raise ImproperlyConfigured(why_unreadable(url) or UNREADABLE) from None
    if wrong := why_unusable(url, parameters):
        raise ImproperlyConfigured(wrong)
    if not all(port.strip().isdigit() for port in parameters.get("port", "").split(",") if port):
        raise ImproperlyConfigured(UNREADABLE)  # an unescaped password can be read as the port
    return parameters
