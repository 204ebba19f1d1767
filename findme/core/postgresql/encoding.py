"""Check that the encoding of the database is UTF8, because all texts of FindMe are Unicode.

In SQL_ASCII a service can store bytes that no client can read as text. LATIN1 and similar encodings cannot store most characters.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.errors import UserFacingError

ENCODING = "UTF8"


def encoding_problem(connection: BaseDatabaseWrapper) -> str | None:
    """Return a sentence without its full stop if the encoding is not UTF8."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('server_encoding')")
        name, encoding = cursor.fetchone()
    return None if encoding == ENCODING else f"The database {name!r} has the encoding {encoding}, but FindMe needs {ENCODING}"


def require_utf8(connection: BaseDatabaseWrapper) -> None:
    """Raise UserFacingError if the encoding is not UTF8. The encoding of a database cannot be changed."""
    if (problem := encoding_problem(connection)) is not None:
        raise UserFacingError(
            f"{problem}: nothing was changed. Run createdb --encoding {ENCODING} --template template0 NAME,"
            " then set that database in DATABASE_URL."
        )
