"""One line of text for each error that a user can cause."""

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
from findme.core.postgresql.connection_errors import is_connection_error
from findme.core.postgresql.diagnosis import effective_variables, refusal_reason

VALUE = re.compile(r":? ['\"].*")
"""The end of psycopg's message about a value that it cannot read. It quotes the value."""


def explain_error(error: BaseException) -> str | None:
    """Return one line for an error that a user can cause, or None for a defect, which keeps its traceback."""
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
    if reason := refusal_reason(error):
        return f"PostgreSQL: {line}: {reason}"
    match error.__cause__:
        case errors.UndefinedTable() | errors.UndefinedColumn():
            return f"PostgreSQL: {line}: the schema does not match this release. Run manage.py migrate."
        case errors.InsufficientPrivilege():
            return f"PostgreSQL: {line}. Set a role with this permission in DATABASE_URL."
    variables = effective_variables() if is_connection_error(error) else []
    if not variables:
        return f"PostgreSQL: {line}"
    end = "" if line.endswith((".", "?")) else "."
    return (
        f"PostgreSQL: {line}{end} The environment sets {', '.join(variables)}, which libpq uses for options that DATABASE_URL does not set."
    )


def _sentence(error: Error) -> str | None:
    """Return PostgreSQL's message without the parts that quote a row, or None if only a defect causes it."""
    cause = error.__cause__
    primary = cause.diag.message_primary if isinstance(cause, errors.Error) else None
    match error:
        case OperationalError() | InterfaceError():
            return one_line(error)
        case InternalError():
            return primary or one_line(error)
        case DataError():
            # psycopg's own message ends with the value.
            return primary or VALUE.sub("", one_line(error))
        case ProgrammingError() if isinstance(cause, errors.UndefinedTable | errors.UndefinedColumn | errors.InsufficientPrivilege):
            return primary
        case NotSupportedError() if cause is None:  # Django: the server is too old
            return one_line(error)
    return None


def _cannot_encode(error: UnicodeEncodeError) -> str:
    character = f"U+{ord(error.object[error.start]):04X}"
    if error.encoding.lower().replace("-", "") == "utf8":
        return f"A text has the character {character}, which UTF-8 cannot encode. Correct it in the argument or file."
    return f"A text has the character {character}, which {error.encoding!r} cannot encode. Set a UTF-8 locale (LANG=C.UTF-8) or PYTHONIOENCODING=utf-8."
