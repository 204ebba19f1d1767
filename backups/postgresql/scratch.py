"""Databases for a restore, which are dropped afterwards, by the next run if their own was killed.

The name of a scratch database has a hash of the name of the database that it is for, and the key of an advisory lock. The run takes the lock before it creates the database, and holds it until it has
dropped the database. So a scratch database whose lock is free belongs to no run.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

from django.db import ProgrammingError
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from psycopg import errors, sql

from backups.postgresql.cluster import DatabaseDescription
from backups.postgresql.tables import quoted
from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.db.session import without_time_limits
from findme.core.errors import UserFacingError, without_detail

PREFIX = "findme_scratch_"
NAME = re.compile(rf"{PREFIX}[0-9a-f]{{8}}_([0-7][0-9a-f]{{15}})")
PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
LOCALES = {"i": "ICU_LOCALE", "b": "BUILTIN_LOCALE"}
# Locks of all databases are listed, whichever database the other run is connected to.
HELD = "SELECT classid::bigint << 32 | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"


@contextmanager
def scratch_database(
    connection: BaseDatabaseWrapper, description: DatabaseDescription, purpose: str, *, of: str | None = None
) -> Iterator[BaseDatabaseWrapper]:
    """Create an empty database with the encoding and the locale of ``description``, and yield a connection to it.

    It is for the database ``of``, by default that of ``connection``.

    The database is dropped after the block, unless the block has renamed it. ``purpose`` ("restore") is in the comment on the database.
    Raises UserFacingError if the database cannot be created.
    """
    key = secrets.randbits(63)
    name = f"{_prefix(connection, of)}{key:016x}"
    with closing(connection.copy()) as session, without_time_limits(session):
        lock = AdvisoryLock(session, key)
        if not lock.try_acquire():
            raise UserFacingError("The lock of a new scratch database is held by another session: nothing was done. Run it again.")
        try:
            _create(session, name, description)
            _comment(session, name, purpose)
            with closing(connection_to(connection, name)) as scratch:
                yield scratch
        finally:
            _drop(session, name)


def connection_to(connection: BaseDatabaseWrapper, name: str) -> BaseDatabaseWrapper:
    """Return another connection to the same server, which is not open yet, to the database ``name``.

    It has the alias of no database: with another alias, a receiver of Django opens the connection of that alias, whose database may not exist.
    """
    other: BaseDatabaseWrapper = connection.copy(NO_DB_ALIAS)
    other.settings_dict["NAME"] = name
    return other


def abandoned_databases(connection: BaseDatabaseWrapper, *, of: str | None = None) -> list[str]:
    """Return the scratch databases for ``of``, by default the database of ``connection``, that a killed run has left, and that this role may drop."""
    with connection.cursor() as cursor:
        # The names first: a lock that is taken in the meantime is then found.
        cursor.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s AND pg_has_role(datdba, 'MEMBER')", [f"{_prefix(connection, of)}%"]
        )
        names = [name for (name,) in cursor.fetchall() if NAME.fullmatch(name)]
    return sorted(without_run(connection, names))


def without_run(connection: BaseDatabaseWrapper, names: Iterable[str]) -> frozenset[str]:
    """Return those of the names of scratch databases whose lock is free. A run that takes its lock after the names were read is found."""
    with connection.cursor() as cursor:
        cursor.execute(HELD)
        held = {key for (key,) in cursor.fetchall()}
    return frozenset(name for name in names if (found := NAME.fullmatch(name)) and int(found[1], 16) not in held)


def drop_abandoned_databases(connection: BaseDatabaseWrapper, *, of: str | None = None) -> list[str]:
    """Drop them, and return their names."""
    names = abandoned_databases(connection, of=of)
    for name in names:
        _drop(connection, name)
    return names


def _prefix(connection: BaseDatabaseWrapper, of: str | None) -> str:
    name = of or str(connection.settings_dict["NAME"])
    return f"{PREFIX}{hashlib.sha256(name.encode()).hexdigest()[:8]}_"


def _create(session: BaseDatabaseWrapper, name: str, description: DatabaseDescription) -> None:
    options = {
        "ENCODING": description.encoding,
        "LOCALE_PROVIDER": PROVIDERS[description.locale_provider],
        "LC_COLLATE": description.collate,
        "LC_CTYPE": description.ctype,
        LOCALES.get(description.locale_provider, ""): description.locale,
        "ICU_RULES": description.icu_rules,
    }
    given = " ".join(f"{option} {sql.quote(value)}" for option, value in options.items() if option and value is not None)
    try:
        with session.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {quoted(name)} TEMPLATE template0 {given}")
    except ProgrammingError as error:
        if isinstance(error.__cause__, errors.InsufficientPrivilege):
            raise UserFacingError(
                "The role of DATABASE_URL may not create a database: nothing was restored. Run ALTER ROLE ... CREATEDB as a superuser."
            ) from error
        raise UserFacingError(
            f"A database like {description.name!r} cannot be created: {without_detail(error)}. Restore on a server that has its locale."
        ) from error


def _comment(session: BaseDatabaseWrapper, name: str, purpose: str) -> None:
    text = f"FindMe {purpose}, {socket.gethostname()}:{os.getpid()}. The next run drops it if this one was killed."
    with session.cursor() as cursor:
        cursor.execute(f"COMMENT ON DATABASE {quoted(name)} IS {sql.quote(text)}")


def _drop(session: BaseDatabaseWrapper, name: str) -> None:
    with session.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")
        # The role as which a dump from outside runs has the name of its database.
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
        if cursor.fetchone():
            cursor.execute(f"DROP ROLE {quoted(name)}")
