"""What a dump leaves out: described, kept as JSON, and restored for a database of another name."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest
from django.db import connection

from backups.postgresql.cluster import DatabaseDescription, Grant, Membership, Setting, describe_database, missing_roles
from backups.postgresql.cluster_statements import statements
from backups.postgresql.tables import quoted
from tests.support.database import Database, database, use_database

ODD = 'A "b" %s\'c\\ é.'


@pytest.fixture
def roles(empty: Database) -> Iterator[list[str]]:
    """Five roles with odd names. The databases that name them are dropped first."""
    names = [f"{ODD}{number} {secrets.token_hex(4)}" for number in range(5)]
    for name in names:
        empty.execute(f"CREATE ROLE {quoted(name)}")
    yield names
    for name in names:
        for statement in ("REASSIGN OWNED BY {} TO CURRENT_USER", "DROP OWNED BY {}", "DROP ROLE {}"):
            empty.execute(statement.format(quoted(name)))


def described(made: Database) -> DatabaseDescription:
    with use_database(made):
        return describe_database(connection)


def names_of(description: DatabaseDescription) -> set[str]:
    return {role.name for role in description.roles if not role.name.startswith("pg_")}


def apply(wanted: DatabaseDescription, made: Database) -> list[str]:
    found = statements(wanted, described(made))
    for statement in found:
        made.execute(statement)
    return found


def configure(made: Database, roles: list[str]) -> None:
    name = quoted(made.name)
    owner, reader, grouped, *_ = map(quoted, roles)
    made.execute(f"""
        ALTER DATABASE {name} OWNER TO {owner}; ALTER DATABASE {name} CONNECTION LIMIT 77;
        REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT TEMPORARY ON DATABASE {name} TO PUBLIC;
        GRANT CONNECT ON DATABASE {name} TO {reader} WITH GRANT OPTION; GRANT CREATE ON DATABASE {name} TO {reader};
        ALTER DATABASE {name} SET search_path TO "$user", 'Odd "schema", \\x', public;
        ALTER DATABASE {name} SET "findme.text" TO E'it''s \\\\ "quoted", a=b\\nline';
        ALTER DATABASE {name} SET datestyle TO 'ISO, DMY';
        ALTER ROLE {grouped} IN DATABASE {name} SET work_mem TO '7MB'; ALTER ROLE {grouped} IN DATABASE {name} SET search_path TO '';
    """)


def test_description__names_what_is_not_the_default(empty: Database, roles: list[str]) -> None:
    configure(empty, roles)
    found = describe_database(connection)
    assert (found.name, found.owner, found.encoding, found.connection_limit) == (empty.name, roles[0], "UTF8", 77)
    assert Grant(roles[1], "CONNECT", is_grantable=True) in found.grants
    assert {grant.privilege for grant in found.grants if grant.grantee is None} == {"TEMPORARY"}
    assert Setting(None, "findme.text", 'it\'s \\ "quoted", a=b\nline') in found.settings
    assert Setting(None, "search_path", '"$user", "Odd ""schema"", \\x", public') in found.settings
    assert Setting(roles[2], "work_mem", "7MB") in found.settings


def test_description__as_json_and_back(empty: Database, roles: list[str]) -> None:
    configure(empty, roles)
    found = describe_database(connection)
    assert DatabaseDescription.from_json(json.loads(json.dumps(found.as_json()))) == found
    assert "password" not in json.dumps(found.as_json()).lower()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE t (id int); ALTER TABLE t OWNER TO {0}",
        "CREATE TABLE t (id int); GRANT SELECT ON t TO {0}",
        "CREATE TABLE t (id int); GRANT SELECT (id) ON t TO {0}",
        "CREATE SCHEMA s AUTHORIZATION {0}",
        "GRANT USAGE ON SCHEMA public TO {0}",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION f() TO {0}",
        "CREATE TYPE t AS ENUM ('a'); ALTER TYPE t OWNER TO {0}",
        "CREATE SEQUENCE s; GRANT USAGE ON SEQUENCE s TO {0}",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {0}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {0} GRANT SELECT ON TABLES TO PUBLIC",
        "CREATE TABLE t (id int); CREATE POLICY p ON t TO {0}",
        "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {0}",
        "GRANT CONNECT ON DATABASE {1} TO {0}",
        "ALTER ROLE {0} IN DATABASE {1} SET work_mem TO '7MB'",
        'CREATE COLLATION c FROM pg_catalog."C"; ALTER COLLATION c OWNER TO {0}',
    ],
)
def test_roles__each_way_to_name_one(statement: str, empty: Database, roles: list[str]) -> None:
    before = names_of(describe_database(connection))
    empty.execute(statement.format(quoted(roles[0]), quoted(empty.name)))
    assert names_of(describe_database(connection)) - before == {roles[0]}


def test_roles__of_another_database_and_of_an_extension_are_not_needed(empty: Database, roles: list[str]) -> None:
    with database(owner=None) as other:
        other.execute(f"CREATE TABLE t (id int); ALTER TABLE t OWNER TO {quoted(roles[0])}; GRANT SELECT ON t TO {quoted(roles[1])}")
        empty.execute(f"GRANT CREATE ON DATABASE {empty.name} TO {quoted(roles[2])}")
        empty.execute(f"SET ROLE {quoted(roles[2])}; CREATE EXTENSION citext; RESET ROLE")
        empty.execute(f"REVOKE CREATE ON DATABASE {empty.name} FROM {quoted(roles[2])}")
        assert set(roles) & names_of(describe_database(connection)) == set()


def test_roles__with_their_groups_and_attributes(empty: Database, roles: list[str]) -> None:
    low, middle, high = map(quoted, roles[:3])
    empty.execute(f"""
        GRANT {middle} TO {low}; GRANT {high} TO {middle} WITH ADMIN OPTION; CREATE TABLE t (id int); GRANT SELECT ON t TO {low};
        ALTER ROLE {high} LOGIN CREATEDB NOINHERIT CONNECTION LIMIT 3 VALID UNTIL '2030-01-02 03:04+00' PASSWORD 'not-in-the-backup'
    """)
    found = describe_database(connection)
    by_name = {role.name: role for role in found.roles}
    assert set(roles[:3]) == set(roles) & by_name.keys()
    assert [(one.role, one.is_admin) for one in by_name[roles[0]].memberships] == [(roles[1], False)]
    assert isinstance(by_name[roles[1]].memberships[0], Membership)
    assert by_name[roles[1]].memberships[0].is_admin
    top = by_name[roles[2]]
    assert (top.may_log_in, top.may_create_databases, top.inherits, top.connection_limit, top.is_superuser) == (True, True, False, 3, False)
    assert top.valid_until is not None
    assert top.valid_until.startswith("2030-01-02")
    assert "not-in-the-backup" not in json.dumps(found.as_json())
    assert "SCRAM" not in json.dumps(found.as_json())


def test_description__of_an_older_version(older_server: int) -> None:
    with database() as made, use_database(made):
        made.execute("CREATE ROLE one; CREATE ROLE two; GRANT two TO one; CREATE TABLE t (id int); ALTER TABLE t OWNER TO one")
        found = describe_database(connection)
    assert (found.encoding, found.locale_provider, found.ctype) == ("UTF8", "c", "C.UTF-8")
    assert {"findme", "one", "two"} == names_of(found)
    assert DatabaseDescription.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_missing_roles(empty: Database, roles: list[str]) -> None:
    configure(empty, roles)
    found = describe_database(connection)
    assert missing_roles(found, connection) == []
    empty.execute(f"ALTER ROLE {quoted(roles[0])} RENAME TO {quoted(roles[0] + ' renamed')}")
    try:
        assert missing_roles(found, connection) == [roles[0]]
    finally:
        empty.execute(f"ALTER ROLE {quoted(roles[0] + ' renamed')} RENAME TO {quoted(roles[0])}")


def test_statements__for_a_database_of_another_name(empty: Database, roles: list[str]) -> None:
    configure(empty, roles)
    wanted = describe_database(connection)
    with database() as other:
        assert apply(wanted, other)
        found = described(other)
        assert statements(wanted, found) == []
        assert (found.owner, found.connection_limit) == (wanted.owner, 77)
        assert set(found.grants) == set(wanted.grants)
        assert set(found.settings) == set(wanted.settings)


def test_statements__what_the_other_database_has_too_much_is_removed(empty: Database, roles: list[str]) -> None:
    wanted = describe_database(connection)
    with database() as other:
        configure(other, roles)
        apply(wanted, other)
        found = described(other)
        assert (found.owner, found.connection_limit, found.settings) == (wanted.owner, -1, ())
        assert set(found.grants) == set(wanted.grants)


def test_statements__none_for_equal_databases(empty: Database) -> None:
    with database() as other:
        assert statements(describe_database(connection), described(other)) == []


@pytest.mark.parametrize("value", ["''", "a", '"A", b', '"a""b", "c,d" , e', '"$user"', '\'a b\', """"'])
def test_statements__a_list_of_names_keeps_its_value(value: str, empty: Database) -> None:
    empty.execute(f"ALTER DATABASE {empty.name} SET search_path TO {value}")
    wanted = describe_database(connection)
    with database() as other:
        apply(wanted, other)
        assert described(other).settings == wanted.settings
