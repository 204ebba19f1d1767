"""The encoding of the database: every text of FindMe is Unicode, so it has to be UTF8.

In SQL_ASCII any service can store bytes that no client can read as text. In LATIN1 and its kind most characters cannot be stored.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.errors import UserFacingError

ENCODING = "UTF8"


def encoding_problem(connection: BaseDatabaseWrapper) -> str | None:
    """Return one sentence if the encoding is another one, without its full stop."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('server_encoding')")
        name, encoding = cursor.fetchone()
    return None if encoding == ENCODING else f"The database {name!r} has the encoding {encoding}, and FindMe needs {ENCODING}"


def require_utf8(connection: BaseDatabaseWrapper) -> None:
    """Raises UserFacingError for a database with another encoding, which cannot be changed."""
    if (problem := encoding_problem(connection)) is not None:
        raise UserFacingError(
            f"{problem}: nothing was changed. Create another database, createdb --encoding {ENCODING} --template template0 NAME,"
            " and name it in DATABASE_URL."
        )
