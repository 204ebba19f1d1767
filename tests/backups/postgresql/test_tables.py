"""The tables that ``pg_dump`` writes, and their names."""

from __future__ import annotations

import pytest
from django.db import connection

from backups.postgresql.tables import dumped_tables, named_tables
from findme.core.errors import UserFacingError
from tests.support.database import Database

ODD = 'Odd "name" of $a\\b.c; % *?{0}'

SCHEMA = f"""
    CREATE SCHEMA "Second";
    CREATE TABLE users (id int);
    CREATE TABLE "Second".users (id int);
    CREATE TABLE "Second"."{ODD.replace('"', '""')}" (id int);
    CREATE TABLE parent (id int);
    CREATE TABLE child () INHERITS (parent);
    CREATE UNLOGGED TABLE cache (id int);
    CREATE TABLE parted (id int) PARTITION BY LIST (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1) PARTITION BY LIST (id);
    CREATE TABLE parted_1_1 PARTITION OF parted_1 FOR VALUES IN (1);
    CREATE VIEW a_view AS SELECT * FROM users;
    CREATE MATERIALIZED VIEW a_copy AS SELECT * FROM users;
    CREATE SEQUENCE a_sequence;
    CREATE TABLE of_extension (id int);
    CREATE EXTENSION citext;
    ALTER EXTENSION citext ADD TABLE of_extension;
"""
ODD_SHOWN = '"Second"."' + ODD.replace('"', '""') + '"'


@pytest.fixture
def made(empty: Database) -> Database:
    empty.execute(SCHEMA)
    return empty


def test_dumped_tables__tables_with_rows_of_their_own(made: Database) -> None:
    assert [str(table) for table in dumped_tables(connection)] == [
        ODD_SHOWN,
        '"Second".users',
        "public.cache",
        "public.child",
        "public.parent",
        "public.parted_1_1",
        "public.users",
    ]


@pytest.mark.parametrize("name", [ODD_SHOWN, f"Second.{ODD}"])
def test_named_tables__odd_name(name: str, made: Database) -> None:
    [table] = named_tables(connection, [name])
    assert (table.schema, table.name, str(table)) == ("Second", ODD, ODD_SHOWN)


def test_named_tables__with_and_without_schema(made: Database) -> None:
    assert list(map(str, named_tables(connection, ["users", "Second.users", "public.users", '"users"']))) == [
        '"Second".users',
        "public.users",
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("user", "Did you mean 'users'?"),
        ("USERS", "Name one as SCHEMA.TABLE."),
        ("a_view", ""),
        ("parted", ""),
        ("of_extension", ""),
        ("*", ""),
        ("", ""),
        (ODD, ""),
    ],
)
def test_named_tables__no_such_table(name: str, hint: str, made: Database) -> None:
    with pytest.raises(UserFacingError) as raised:
        named_tables(connection, ["users", name])
    assert str(raised.value).startswith(f"There is no table {name!r} with rows in this database: nothing was written.")
    assert str(raised.value).endswith(hint)
