"""Digests of tables: the same for the same rows in any database, and another one for every other value."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import ProgrammingError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoDbBlocker

from backups.postgresql.connection import program_connection
from backups.postgresql.digests import TableDigest, table_digests
from backups.postgresql.tables import dumped_tables
from findme.core.postgresql.programs import find_program
from tests.at_length import examples
from tests.support.database import Database, database, use_database
from tests.support.postgresql_versions import installed_versions, server_of_version
from tests.support.waiting import DEADLINE_SECONDS

DIFFERENT = {
    "bool": ["true", "false"],
    "smallint": ["0", "1", "-1"],
    "int": ["0", "1", "-1", "65536"],
    "bigint": ["0", "4294967297", "-1", "4294967295", "-4294967297"],
    "real": ["0", "-0", "0.1", "0.10000001", "NaN", "Infinity", "-Infinity"],
    "double precision": ["0", "-0", "0.1", "0.1000000149011612", "NaN"],
    "numeric": ["1.0", "1.00", "1", "NaN"],
    "numeric(9,2)": ["1", "1.01"],
    "money": ["1", "1.01"],
    "oid": ["0", "1", "4294967295"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001"],
    "date": ["2000-01-01", "2000-01-02", "infinity", "0044-03-15 BC"],
    "time": ["00:00", "00:00:00.000001", "01:11:34.967297", "24:00"],
    "timetz": ["12:00+00", "13:00+01"],
    "timestamp": ["2000-01-01", "2000-01-01 01:11:34.967297", "infinity"],
    "timestamptz": ["2000-01-01 00:00+00", "2000-01-01 00:00+01", "2000-01-01 01:11:34.967297+00"],
    "interval": ["1 month", "30 days", "720 hours"],
    "bytea": ["\\x", "\\x00", "\\x0000"],
    "text": ["", " ", "a", "A", "a ", "NULL", "é", "e\u0301", "{}"],
    "varchar(5)": ["", "a", "a "],
    "char(3)": ["a", "b", ""],
    "bpchar": ["a", "a ", ""],
    '"char"': ["a", "b"],
    "name": ["a", "b"],
    "citext": ["a", "A"],
    "json": ['{"a": 1}', '{"a":1}', "null"],
    "jsonb": ['{"a": 1.0}', '{"a": 1.00}', '"1"', "1"],
    "inet": ["10.0.0.1", "10.0.0.1/24"],
    "macaddr": ["08:00:2b:01:02:03", "08:00:2b:01:02:04"],
    "point": ["(0,0)", "(0,1)"],
    "polygon": ["((0,0),(0,1))", "((0,1),(0,0))"],
    "tsvector": ["a:1", "a:2"],
    "bit varying": ["0", "00"],
    "int4range": ["[1,3)", "[1,4)", "empty"],
    "numrange": ["[1.0,2]", "[1.00,2]", "[1,2)"],
    "datemultirange": ["{[2000-01-01,2000-01-02)}", "{}"],
    "hstore": ["a=>1", "a=>2", "a=>NULL"],
    "regclass": ["pg_class", "pg_type"],
    "mood": ["sad", "happy"],
    "mood[]": ["{sad}", "{happy}", "{sad,happy}"],
    "pair": ["(1,a)", "(1,b)", "(,)"],
    "pair[]": ['{"(1,a)"}', "{}"],
    "big": ["0", "4294967297"],
    "words": ["{a}", "{A}", "{}", "[0:0]={a}"],
    "real[]": ["{1,2}", "{2,1}", "{{1,2}}", "{{1},{2}}", "[0:1]={1,2}", "{}", "{1,NULL}", "{NULL,1}"],
    "int[]": ["{1,2}", "{2,1}", "{}", "{NULL}", "{0}"],
    "bigint[]": ["{0}", "{4294967297}"],
    "uuid[]": ["{00000000-0000-0000-0000-000000000000}", "{}"],
    "text[]": ["{a,b}", '{"a,b"}', "{A,b}", "{NULL}", '{"NULL"}', "{}", '{""}'],
    "bpchar[]": ["{a}", '{"a "}'],
    "jsonb[]": ['{"1.0"}', '{"1.00"}'],
    "timestamptz[]": ['{"2000-01-01 00:00+00"}', '{"2000-01-01 01:11:34.967297+00"}'],
}
"""Values that PostgreSQL can store, by type. Some of them are equal for PostgreSQL, but not the same."""

COLLATED = {
    'text COLLATE "insensitive"': ["a", "A", "á"],
    'varchar COLLATE "insensitive"': ["a", "A"],
    'text[] COLLATE "insensitive"': ["{a}", "{A}"],
}
COLLATION = "CREATE COLLATION insensitive (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"

TYPES = """
    CREATE EXTENSION citext; CREATE EXTENSION hstore;
    CREATE TYPE {first} AS ENUM ('sad', 'happy'); CREATE TYPE {second} AS ENUM ('sad', 'happy');
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN big0 AS bigint; CREATE DOMAIN big AS big0 CHECK (VALUE >= 0); CREATE DOMAIN words AS text[];
"""


def prepare(made: Database, *, other_oids: bool = False) -> None:
    made.execute(TYPES.format(first="mood2" if other_oids else "mood", second="mood" if other_oids else "mood2"))


def digests() -> dict[str, TableDigest]:
    return table_digests(connection, dumped_tables(connection))


def digest_of(table: str) -> TableDigest:
    return table_digests(connection, [one for one in dumped_tables(connection) if one.name == table])[f"public.{table}"]


def execute(statement: str, parameters: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


@pytest.fixture
def prepared(empty: Database) -> Database:
    prepare(empty)
    return empty


def test_digest__different_values_of_every_type(prepared: Database) -> None:
    assert missed(DIFFERENT) == {}


def test_digest__texts_that_a_collation_takes_for_equal(older_server: int) -> None:
    """The embedded server has no ICU, and so no such collation."""
    with database() as made, use_database(made):
        execute(COLLATION)
        assert missed(COLLATED) == {}


def missed(values_by_type: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return how many values have the digest of another one, for each type that has such values."""
    found = {}
    for kind, values in values_by_type.items():
        seen = set()
        for value in (None, *values):
            execute(f"DROP TABLE IF EXISTS one; CREATE TABLE one (v {kind})")
            execute("INSERT INTO one VALUES (%s)", [value])
            seen.add(digest_of("one"))
        if len(seen) <= len(values):
            found[kind] = len(values) + 1 - len(seen)
    return found


def fill_with_everything() -> None:
    """Make a table with every value of every type, one without rows, one without columns, and odd ones."""
    for number, (kind, values) in enumerate(DIFFERENT.items()):
        execute(f"CREATE TABLE type_{number} (v {kind})")
        for value in (None, *values):
            execute(f"INSERT INTO type_{number} VALUES (%s)", [value])
    execute("""
        CREATE TABLE no_rows (id int); CREATE TABLE no_columns (); INSERT INTO no_columns SELECT FROM generate_series(1, 3);
        CREATE TABLE "Odd ""Table"" %s {0}" ("Odd ""Column"" %s {1}" text, gone int, "select" bigint, half int GENERATED ALWAYS AS (length(kept) / 2) STORED, kept text);
        ALTER TABLE "Odd ""Table"" %s {0}" DROP COLUMN gone;
        INSERT INTO "Odd ""Table"" %s {0}" VALUES ('a', 1, DEFAULT, 'abcd'), (NULL, 4294967297, DEFAULT, NULL);
        CREATE TABLE parent (id int); CREATE TABLE child (more text) INHERITS (parent);
        INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 'b');
        CREATE TABLE hidden (id int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; INSERT INTO hidden VALUES (1);
    """)


@contextmanager
def restored(dump: bytes) -> Iterator[None]:
    """Restore the dump into a new database where the types get other oids, and connect Django to it."""
    with database() as other, use_database(other):
        for _ in range(10):
            execute("CREATE TYPE spare AS ENUM ('a'); DROP TYPE spare")
        run("pg_restore", "--exit-on-error", "--no-owner", data=dump)
        yield


def run(program: str, *options: str, data: bytes = b"") -> bytes:
    connection.ensure_connection()
    target = program_connection(connection)
    command = [str(find_program(program, connection.connection.info.server_version // 10000).path), f"--dbname={target.conninfo}", *options]
    done = subprocess.run(command, env=target.environment, input=data, capture_output=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_digests__kept_by_dump_and_restore(prepared: Database) -> None:
    fill_with_everything()
    before = digests()
    assert before["public.no_columns"].rows == 3
    assert before["public.no_rows"] == TableDigest(0, "0")
    assert before["public.parent"].rows == 1
    with restored(run("pg_dump", "--format=custom")):
        assert digests() == before


@pytest.mark.long
@pytest.mark.parametrize(
    "version", installed_versions() or [pytest.param(0, marks=pytest.mark.skip("no PostgreSQL in /usr/lib/postgresql"))]
)
def test_digests__kept_by_a_move_to_another_version(version: int, django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock():
        with server_of_version(version), database() as made, use_database(made):
            prepare(made)
            fill_with_everything()
            before = digests()
            dump = run("pg_dump", "--format=custom")
        with restored(dump):
            assert digests() == before


def test_digests__settings_of_the_session_change_nothing(prepared: Database) -> None:
    fill_with_everything()
    before = digests()
    execute("""
        SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'; SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = -5;
        SET bytea_output = 'escape'; SET search_path = pg_catalog, public; SET quote_all_identifiers = off
    """)
    assert digests() == before
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('DateStyle'), current_setting('search_path')")
        assert cursor.fetchone() == ("SQL, DMY", "pg_catalog, public")


def test_digests__a_column_that_cannot_be_read(prepared: Database) -> None:
    """The error is PostgreSQL's own, also in a transaction."""
    execute("CREATE TABLE secrets (id int)")
    with transaction.atomic():
        execute("SET LOCAL ROLE pg_monitor")
        with pytest.raises(ProgrammingError, match="permission denied for table secrets"):
            digests()
        transaction.set_rollback(True)


def test_digests__rows_that_a_policy_hides__are_an_error(prepared: Database) -> None:
    """Not a digest of the other rows: pg_dump refuses too."""
    with transaction.atomic():
        execute("""
            CREATE TABLE hidden (id int); INSERT INTO hidden VALUES (1), (2); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
            CREATE POLICY first ON hidden USING (id = 1); GRANT SELECT ON hidden TO pg_monitor; SET LOCAL ROLE pg_monitor
        """)
        with pytest.raises(ProgrammingError, match="query would be affected by row-level security policy"):
            digests()
        transaction.set_rollback(True)


Row = tuple[int | None, str | None, tuple[float | None, ...] | None]
numbers = st.none() | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, 2**32 + 1, -(2**32) - 1])
texts = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
vectors = st.none() | st.lists(st.none() | st.floats(width=32, allow_nan=False).map(lambda value: value + 0.0), max_size=3).map(tuple)
rows = st.tuples(numbers, texts, vectors)


@given(st.data())
@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_digest__equal_if_and_only_if_the_rows_are(prepared: Database, data: st.DataObject) -> None:
    before = data.draw(st.lists(rows, min_size=1, max_size=6))
    after = data.draw(
        st.permutations(before)
        | st.integers(0, len(before) - 1).flatmap(lambda place: changed(before, place))
        | st.sampled_from(before).map(lambda row: [*before, row])
        | st.permutations(range(len(before))).map(lambda order: [(before[n][0], *row[1:]) for n, row in zip(order, before, strict=True)])
    )
    assert (digest_of_rows(before) == digest_of_rows(after)) == (Counter(before) == Counter(after))


def changed(table: list[Row], place: int) -> st.SearchStrategy[list[Row]]:
    """Change one column of one row."""
    row = table[place]
    others: list[st.SearchStrategy[Row]] = [
        numbers.map(lambda value: (value, row[1], row[2])),
        texts.map(lambda value: (row[0], value, row[2])),
        vectors.map(lambda value: (row[0], row[1], value)),
    ]
    return st.one_of(others).map(lambda other: [*table[:place], other, *table[place + 1 :]])


def test_digest__two_rows_that_exchange_a_value(prepared: Database) -> None:
    """A sum of the hashes of records, which are sums themselves, is the same for about half of these."""
    for number in range(50):
        one, other = (number, f"a{number}", None), (number + 100, f"b{number}", None)
        assert digest_of_rows([one, other]) != digest_of_rows([(one[0], *other[1:]), (other[0], *one[1:])])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((None, 0.0), (None, None)),
        ((None, 0.0), (0.0, None)),
        ((0.0,), (None,)),
        (((0.0, None), (1.0, 1.0)), ((None, 0.0), (1.0, 1.0))),
    ],
)
def test_digest__null_and_zero_in_an_array__differ(prepared: Database, one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert digest_of_rows([(1, None, one)]) != digest_of_rows([(1, None, other)])


def digest_of_rows(table: Sequence[Row]) -> TableDigest:
    execute("DROP TABLE IF EXISTS drawn; CREATE TABLE drawn (number bigint, word text, vector real[])")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO drawn VALUES (%s, %s, %s)", [(*row[:2], as_array(row[2])) for row in table])
    found = digest_of("drawn")
    assert found.rows == len(table)
    return found


def as_array(value: Any) -> Any:
    """Return the value with lists for tuples: psycopg makes an array of a list only."""
    return [as_array(one) for one in value] if isinstance(value, tuple) else value
