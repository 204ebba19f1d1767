"""The statements that give a database the owner, the grants and the settings of another one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from psycopg import sql

from backups.postgresql.cluster import DatabaseDescription, Grant
from backups.postgresql.tables import quoted

LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
"""Settings whose stored value is a list of quoted names, as in ``pg_dump``. As one text it would become a list of one name."""


def statements(wanted: DatabaseDescription, found: DatabaseDescription) -> list[str]:
    """Return the SQL that makes the database ``found`` like ``wanted``, but for its name, its locale and its contents.

    Only what differs is changed, so the list is empty after it was run. Grants are made by the owner, also those that another role made.
    """
    database = quoted(found.name)
    return [
        *([f"ALTER DATABASE {database} OWNER TO {quoted(wanted.owner)}"] if wanted.owner != found.owner else []),
        *(
            [f"ALTER DATABASE {database} CONNECTION LIMIT {wanted.connection_limit}"]
            if wanted.connection_limit != found.connection_limit
            else []
        ),
        *_grants(database, wanted, found),
        *_settings(database, wanted, found),
    ]


def _grants(database: str, wanted: DatabaseDescription, found: DatabaseDescription) -> Iterator[str]:
    after, before = _by_grantee(wanted, wanted.owner), _by_grantee(found, wanted.owner)
    for grantee in sorted(after.keys() | before.keys(), key=lambda name: name or ""):
        if after[grantee] == before[grantee]:
            continue
        to = "PUBLIC" if grantee is None else quoted(grantee)
        if before[grantee]:
            yield f"REVOKE ALL PRIVILEGES ON DATABASE {database} FROM {to}"
        for is_grantable in (False, True):
            if privileges := sorted(one.privilege for one in after[grantee] if one.is_grantable == is_grantable):
                yield f"GRANT {', '.join(privileges)} ON DATABASE {database} TO {to}{' WITH GRANT OPTION' if is_grantable else ''}"


def _by_grantee(description: DatabaseDescription, owner: str) -> defaultdict[str | None, set[Grant]]:
    """Return the grants by role. What the owner has is what ``owner`` will have: ALTER DATABASE OWNER TO moves it."""
    found: defaultdict[str | None, set[Grant]] = defaultdict(set)
    for grant in description.grants:
        grantee = owner if grant.grantee == description.owner else grant.grantee
        found[grantee].add(Grant(grantee, grant.privilege, grant.is_grantable))
    return found


def _settings(database: str, wanted: DatabaseDescription, found: DatabaseDescription) -> Iterator[str]:
    after, before = ({(one.role, one.name): one.value for one in description.settings} for description in (wanted, found))
    for role, name in before:
        if (role, name) not in after:
            yield f"{_target(database, role)} RESET {_setting_name(name)}"
    for (role, name), value in after.items():
        if before.get((role, name)) != value:
            yield f"{_target(database, role)} SET {_setting_name(name)} TO {_setting_value(name, value)}"


def _target(database: str, role: str | None) -> str:
    return f"ALTER DATABASE {database}" if role is None else f"ALTER ROLE {quoted(role)} IN DATABASE {database}"


def _setting_name(name: str) -> str:
    return ".".join(map(quoted, name.split(".")))


def _setting_value(name: str, value: str) -> str:
    values = (_names(value) or [""]) if name.lower() in LISTS else [value]
    return ", ".join(sql.quote(one).strip() for one in values)


def _names(value: str) -> list[str]:
    """Return the names of a list such as ``"$user", public``."""
    names: list[str] = []
    rest = value.strip()
    while rest:
        if rest.startswith('"'):
            end = 1
            while rest[end : end + 1] != '"' or rest[end + 1 : end + 2] == '"':
                end += 2 if rest[end : end + 2] == '""' else 1
            names.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :].lstrip()
        else:
            name, comma, after = rest.partition(",")
            names.append(name.strip())
            rest = comma + after
        rest = rest.removeprefix(",").lstrip()
    return names
