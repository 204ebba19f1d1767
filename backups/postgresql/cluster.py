"""What a dump of a database leaves out: its owner, grants, settings and locale, and the roles that it needs.

Passwords are not read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.postgresql.needed_roles import NEEDED_ROLES


@dataclass(frozen=True, slots=True)
class Grant:
    """A privilege on the database. A ``grantee`` of None is PUBLIC."""

    grantee: str | None
    privilege: str
    is_grantable: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the database, or of a role in it. ``value`` is the text that PostgreSQL stores."""

    role: str | None
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Membership:
    """The membership in ``role``. PostgreSQL 15 has no ``inherits`` and no ``may_set``: then they are None."""

    role: str
    is_admin: bool
    inherits: bool | None
    may_set: bool | None


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    is_superuser: bool
    inherits: bool
    may_create_roles: bool
    may_create_databases: bool
    may_log_in: bool
    may_replicate: bool
    bypasses_row_security: bool
    connection_limit: int
    valid_until: str | None
    memberships: tuple[Membership, ...]


@dataclass(frozen=True, slots=True)
class DatabaseDescription:
    """A database without its contents. ``roles`` are those that own or are granted anything in it, and their groups."""

    name: str
    owner: str
    encoding: str
    locale_provider: str
    """``c`` (libc), ``i`` (ICU) or ``b`` (builtin)."""
    collate: str
    ctype: str
    locale: str | None
    icu_rules: str | None
    connection_limit: int
    grants: tuple[Grant, ...]
    settings: tuple[Setting, ...]
    roles: tuple[Role, ...]

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DatabaseDescription:
        """Return the description of ``as_json``. Raise TypeError or KeyError for a value that is none."""
        roles = (Role(**{**role, "memberships": tuple(Membership(**one) for one in role["memberships"])}) for role in value["roles"])
        return cls(
            **{
                **value,
                "grants": tuple(Grant(**one) for one in value["grants"]),
                "settings": tuple(Setting(**one) for one in value["settings"]),
                "roles": tuple(roles),
            }
        )


# Some columns exist in newer versions only, so the rows are read as JSON. Before version 17 the locale of ICU had a name of its own.
DATABASE = """
    SELECT d.datname, r.rolname, pg_encoding_to_char(d.encoding), d.datlocprovider, d.datcollate, d.datctype,
        coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale'), to_jsonb(d)->>'daticurules', d.datconnlimit
    FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = current_database()
"""
GRANTS = """
    SELECT r.rolname, a.privilege_type, bool_or(a.is_grantable)
    FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE d.datname = current_database() GROUP BY 1, 2 ORDER BY 1 NULLS FIRST, 2
"""
SETTINGS = """
    SELECT r.rolname, split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1)
    FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS entry LEFT JOIN pg_roles r ON r.oid = s.setrole
    WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY 1 NULLS FIRST, split_part(entry, '=', 1) COLLATE "C"
"""
ROLES = """
    WITH RECURSIVE needed(oid) AS ({needed} UNION SELECT m.roleid FROM needed n JOIN pg_auth_members m ON m.member = n.oid)
    SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication, r.rolbypassrls, r.rolconnlimit,
        to_jsonb(r.rolvaliduntil)#>>'{{}}',
        (SELECT coalesce(jsonb_agg(jsonb_build_object('role', g.rolname, 'is_admin', m.admin_option,
            'inherits', to_jsonb(m)->'inherit_option', 'may_set', to_jsonb(m)->'set_option') ORDER BY g.rolname, m.grantor), '[]')::text
        FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid)
    FROM pg_roles r WHERE r.oid IN (SELECT oid FROM needed) ORDER BY r.rolname
"""


def describe_database(connection: BaseDatabaseWrapper) -> DatabaseDescription:
    """Return the description of the database of ``connection``."""
    with connection.cursor() as cursor:

        def rows(query: str) -> list[tuple[Any, ...]]:
            cursor.execute(query)
            return list(cursor.fetchall())

        [(name, owner, encoding, provider, collate, ctype, locale, icu_rules, connection_limit)] = rows(DATABASE)
        return DatabaseDescription(
            name=name,
            owner=owner,
            encoding=encoding,
            locale_provider=provider,
            collate=collate,
            ctype=ctype,
            locale=locale,
            icu_rules=icu_rules,
            connection_limit=connection_limit,
            grants=tuple(Grant(*row) for row in rows(GRANTS)),
            settings=tuple(Setting(*row) for row in rows(SETTINGS)),
            roles=tuple(_role(*row) for row in rows(ROLES.format(needed=NEEDED_ROLES))),
        )


def _role(*columns: Any) -> Role:
    columns = (*columns[:-1], tuple(Membership(**one) for one in json.loads(columns[-1])))
    return Role(*columns)


def missing_roles(description: DatabaseDescription, connection: BaseDatabaseWrapper) -> list[str]:
    """Return the roles of the description that the server of ``connection`` does not have."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles")
        return missing(description, (name for (name,) in cursor.fetchall()))


def missing(description: DatabaseDescription, existing: Iterable[str]) -> list[str]:
    wanted = {description.owner, *(role.name for role in description.roles)}
    return sorted(wanted.difference(existing))
