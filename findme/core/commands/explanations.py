"""One line for each error that a person can cause."""

from __future__ import annotations

import re

from django.core.exceptions import ImproperlyConfigured
from django.db import (
    DatabaseError,
    DataError,
    Error,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from psycopg import errors

from findme.core.errors import UserFacingError, ends_of, one_line
from findme.core.postgresql.connection_errors import has_no_answer
from findme.core.postgresql.diagnosis import variables_that_count, why_refused

VALUE = re.compile(r":? ['\"].*")
"""The end of psycopg's words for a value that it cannot read: they quote it."""


def what_went_wrong(error: BaseException) -> str | None:
    """Return the line for an error that a person can cause; None for a defect, which keeps its traceback."""
    match error:
        case UserFacingError() | ImproperlyConfigured():
            return one_line(error)
        case DatabaseError() | InterfaceError():
            return _of_postgresql(error)
        case UnicodeEncodeError():
            return _cannot_encode(error)
        case OSError() if error.filename is not None:
            return one_line(UserFacingError(f"{ends_of(str(error.filename))}: {error.strerror}"))
    return None


def _of_postgresql(error: Error) -> str | None:
    line = _sentence(error)
    if line is None:
        return None
    if why := why_refused(error):
        return f"PostgreSQL: {line}: {why}"
    match error.__cause__:
        case errors.UndefinedTable() | errors.UndefinedColumn():
            return f"PostgreSQL: {line}: the schema is not the one of this release. Run manage.py migrate."
        case errors.InsufficientPrivilege():
            return f"PostgreSQL: {line}: use a role that may, in DATABASE_URL."
    variables = variables_that_count() if has_no_answer(error) else []
    if not variables:
        return f"PostgreSQL: {line}"
    end = "" if line.endswith((".", "?")) else "."
    return f"PostgreSQL: {line}{end} The environment sets {', '.join(variables)}, which libpq reads where DATABASE_URL says nothing."


def _sentence(error: Error) -> str | None:
    """Return PostgreSQL's words without those that quote a row; None where only a defect can cause the error."""
    cause = error.__cause__
    primary = cause.diag.message_primary if isinstance(cause, errors.Error) else None
    match error:
        case OperationalError() | InterfaceError():
            return one_line(error)
        case InternalError():
            return primary or one_line(error)
        case DataError():  # psycopg's own words end with the value
            return primary or VALUE.sub("", one_line(error))
        case ProgrammingError() if isinstance(cause, errors.UndefinedTable | errors.UndefinedColumn | errors.InsufficientPrivilege):
            return primary
        case NotSupportedError() if cause is None:  # Django: the server is too old
            return one_line(error)
    return None


def _cannot_encode(error: UnicodeEncodeError) -> str:
    character = f"U+{ord(error.object[error.start]):04X}"
    if error.encoding.lower().replace("-", "") == "utf8":
        return f"A text has the character {character}, which no UTF-8 can hold. Correct it in the argument or the file that it comes from."
    return f"A text has the character {character}, which {error.encoding!r} cannot hold. Set a UTF-8 locale (LANG=C.UTF-8) or PYTHONIOENCODING=utf-8."
