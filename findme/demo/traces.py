"""Find the tables of PostgreSQL that contain a text."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection
from psycopg.sql import SQL, Identifier

CONTAINS_TEXT = SQL("SELECT EXISTS (SELECT FROM {} AS a_row WHERE position(%s IN a_row::text) > 0)")


@dataclass(frozen=True, slots=True)
class Traces:
    """``searched`` is the number of tables read, row by row; ``found`` names the tables with the text."""

    searched: int
    found: tuple[str, ...]


def find_traces(text: str) -> Traces:
    """Search every column of every row of every table that this connection can see. Use it only for a small database.

    Quotation marks and backslashes in ``text`` are not found.
    """
    with connection.cursor() as cursor:
        tables = [table.name for table in connection.introspection.get_table_list(cursor) if table.type in ("t", "p")]
        found = []
        for table in tables:
            cursor.execute(CONTAINS_TEXT.format(Identifier(table)), [text])
            if cursor.fetchone()[0]:
                found.append(table)
    return Traces(len(tables), tuple(found))
