"""The databases that restores have replaced: they stay until the operator drops them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import errors

from backups.postgresql.tables import quoted
from backups.restoring.maintenance import execute, maintenance_session, name_of, rows
from backups.restoring.switch import REPLACED
from findme.core.errors import UserFacingError, without_detail

OLD = """
    SELECT datname, shobj_description(oid, 'pg_database'), pg_has_role(datdba, 'USAGE'),
        CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) END
    FROM pg_database WHERE datname LIKE %s AND shobj_description(oid, 'pg_database') IS NOT NULL ORDER BY datname
"""


@dataclass(frozen=True, slots=True)
class OldDatabase:
    """``size`` is in bytes, None if this role may not read it."""

    name: str
    replaced_at: datetime
    size: int | None


def old_databases(connection: BaseDatabaseWrapper) -> list[OldDatabase]:
    """Return the databases of this role that restores of the database of ``connection`` have replaced, the oldest first.

    One that was renamed since then is not among them, so the operator can keep it or make it the live one again.
    """
    live_name = name_of(connection)
    with maintenance_session(connection, live_name) as session:
        return _found(session, live_name)


def drop_old(connection: BaseDatabaseWrapper, *, dry_run: bool) -> list[OldDatabase]:
    """Drop them and return them. With ``dry_run`` drop none. Raises UserFacingError for one that is in use."""
    live_name = name_of(connection)
    with maintenance_session(connection, live_name) as session:
        found = _found(session, live_name)
        for database in () if dry_run else found:
            try:
                execute(session, f"DROP DATABASE IF EXISTS {quoted(database.name)}")
            except OperationalError as error:
                if not isinstance(error.__cause__, errors.ObjectInUse):
                    raise
                raise UserFacingError(
                    f"The old database {database.name!r} is in use: {without_detail(error)}. End its sessions, then run the command again."
                ) from error
        return found


def oldest_replaced(connection: BaseDatabaseWrapper) -> datetime | None:
    """Return when the first of the old databases that still exist was replaced, whichever role owns it. Users who were erased since then are in it."""
    [(live_name,)] = rows(connection, "SELECT current_database()")
    return min((database.replaced_at for database in _found(connection, live_name, of_all_roles=True)), default=None)


def _found(session: BaseDatabaseWrapper, live_name: str, *, of_all_roles: bool = False) -> list[OldDatabase]:
    found = [
        OldDatabase(name, at, size)
        for name, comment, is_owner, size in rows(session, OLD, "%\\_before\\_%")
        if (is_owner or of_all_roles) and (at := _replaced_at(comment, live_name))
    ]
    return sorted(found, key=lambda database: (database.replaced_at, database.name))


def _replaced_at(comment: str, live_name: str) -> datetime | None:
    """Return when a restore has set the database aside, None if the comment says nothing of it or names another database."""
    parts = REPLACED.fullmatch(comment)
    try:
        if parts is None or json.loads(parts["name"]) != live_name:
            return None
        return datetime.strptime(parts["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
