"""How many rows each table has, and a digest of them, computed by PostgreSQL.

Two tables with the same rows have the same digest, in any order of the rows, in any database, on any supported version.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.postgresql.tables import Table, quoted
from findme.core.db.session import session_settings

FIXED = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    # The text of a regclass has its schema, unless the schema is searched.
    "search_path": "",
}
"""The settings that change how PostgreSQL writes a value as text."""
BINARY = {
    20: "int8send",
    1083: "time_send",
    1114: "timestamp_send",
    1184: "timestamptz_send",
}
"""Types whose hash is of 32 bits only: 0 and 4294967297 have the same one. Their bytes are hashed instead. The keys are the oids of types."""
AS_IT_IS = frozenset({16, 17, 21, 23, 1082, 2950})
"""bool, bytea, int2, int4, date, uuid: types with the same hash in every database, and another hash for every other value."""
TEXTS = frozenset({25, 1043})
"""text and varchar. Under the collation "C", two texts are equal only if their bytes are."""
HASHED_ARRAYS = frozenset({1000, 1001, 1005, 1007, 1021, 1022, 1182, 2951})
"""Arrays of bool, bytea, int2, int4, float4, float8, date and uuid.

The hash of an array does not include its bounds, and takes a NULL for a floating-point 0. So both are hashed too.
"""
TEXT_ARRAYS = frozenset({1009, 1015})
# A generated column is not dumped: the restored database computes it. A domain is hashed as the type that it is made of.
COLUMNS = """
    WITH RECURSIVE columns AS (
        SELECT a.attrelid, a.attnum, a.attname, a.atttypid AS type
        FROM pg_attribute a WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        UNION ALL
        SELECT c.attrelid, c.attnum, c.attname, t.typbasetype FROM columns c JOIN pg_type t ON t.oid = c.type WHERE t.typtype = 'd'
    )
    SELECT c.attrelid, c.attname, c.type,
        EXISTS (SELECT FROM pg_cast WHERE castsource = c.type AND casttarget = 'text'::regtype AND castmethod = 'f')
    FROM columns c JOIN pg_type t ON t.oid = c.type WHERE t.typtype <> 'd' ORDER BY c.attrelid, c.attnum
"""
# The bytes of a hash, since the hash of an int8 is of 32 bits only.
HASH = "int8send(hash_record_extended(ROW({columns}), 0))"
# The hash of a record is a sum over its columns. A sum of such hashes stays the same if two rows exchange a value, so the hash is hashed again.
DIGEST = """
    SELECT count(*), coalesce(sum(hash_record_extended(ROW({hash}), 0)::numeric), 0)::text FROM ONLY {table}
"""


@dataclass(frozen=True, slots=True)
class TableDigest:
    """The number of rows, and the sum of their hashes: an integer of any size, as text."""

    rows: int
    digest: str


def table_digests(connection: BaseDatabaseWrapper, tables: Iterable[Table]) -> dict[str, TableDigest]:
    """Return the digest of each table by ``str`` of the table, as the transaction of ``connection`` sees it.

    Generated columns are left out, because ``pg_dump`` leaves them out. 0 and -0 in an array of floating-point numbers count as equal.
    """
    tables = list(tables)
    with session_settings(connection, **FIXED):
        columns = _columns(connection, tables)
        return {str(table): _digest(connection, table, columns.get(table.oid, [])) for table in tables}


def _digest(connection: BaseDatabaseWrapper, table: Table, columns: list[str]) -> TableDigest:
    with connection.cursor() as cursor:
        cursor.execute(DIGEST.format(table=table.quoted, hash=HASH.format(columns=", ".join(columns))))
        return TableDigest(*cursor.fetchone())


def _columns(connection: BaseDatabaseWrapper, tables: list[Table]) -> dict[int, list[str]]:
    """Return the SQL of the columns to hash, by the oid of the table."""
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS, [[table.oid for table in tables]])
        found: dict[int, list[str]] = {}
        for oid, name, type_oid, has_cast in cursor.fetchall():
            found.setdefault(oid, []).append(_hashable(quoted(name), type_oid, has_cast=has_cast))
        return found


def _hashable(column: str, type_oid: int, *, has_cast: bool) -> str:
    """Return SQL whose hash tells two different values of ``column`` apart."""
    if type_oid in AS_IT_IS:
        return column
    if (send := BINARY.get(type_oid)) is not None:
        return f"{send}({column})"
    if type_oid in TEXTS:
        return f'{column} COLLATE "C"'
    if type_oid in HASHED_ARRAYS | TEXT_ARRAYS:
        value = f'{column} COLLATE "C"' if type_oid in TEXT_ARRAYS else column
        # array_positions takes arrays of one dimension only.
        nulls = f"CASE WHEN array_ndims({column}) > 1 THEN {column}::text ELSE array_positions({column}, NULL)::text END"
        return HASH.format(columns=f'{value}, array_dims({column}), ({nulls}) COLLATE "C"')
    # A cast to text need not show everything: that of bpchar removes the spaces at the end. The text of an array shows what the type writes.
    return f'(ARRAY[{column}])::text COLLATE "C"' if has_cast else f'{column}::text COLLATE "C"'
