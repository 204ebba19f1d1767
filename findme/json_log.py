"""Format log records as JSON, one on each line, without personal data: for ``LOG_FORMAT=json``.

An exception is written with its type and source lines, and without its message: PostgreSQL's messages contain values of the row. For records of
other packages only the text in their source and whole numbers are written: other arguments may be a path, a parameter or a name.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from django.http import HttpRequest
from psycopg.errors import Diagnostic

from findme.core.commands.running import running_command
from findme.web.request_log import EMAIL, LOGGERS, MASKED_EMAIL, Reason, RequestLine, method_of

OURS = frozenset({"findme", "accounts", "videos", "matching", "calls", "vectorstore", "privacy"})
"""Loggers of this project. Their records have ids and counts, and no value of a row."""
WITHHELD = "..."
MAX_FRAMES = 20
EXTRA = ("duration_seconds", "exit_code", "counts", "status_code", "reason")
"""Attributes that are written for this project's records. Another package can use the same names with any values."""
CONVERSION = re.compile(r"%%|%(\([^)]*\))?[#0\- +]*(?:\d+|\*)?(?:\.(?:\d+|\*))?[hlL]?([a-zA-Z])")
NUMERIC = frozenset("diouxXeEfFgGc")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Format the record. It never raises: ``logging`` would print the record's raw arguments then."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "process": record.process,
            "command": running_command(),
        }
        for part in (_extra, _request, _exception):
            with suppress(Exception):
                entry |= json.loads(json.dumps(part(record), default=str, allow_nan=False))
        return json.dumps(entry)


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in OURS


def _message(record: logging.LogRecord) -> str:
    """Return the message, or the record's source line if it cannot be formatted. It never raises."""
    with suppress(Exception):
        return EMAIL.sub(MASKED_EMAIL, _our_message(record) if _is_ours(record) else _foreign_message(record))
    return f"{WITHHELD} ({record.module}:{record.lineno})"


def _our_message(record: logging.LogRecord) -> str:
    words = str(record.msg)
    if not record.args:
        return words
    with suppress(Exception):
        return str(words % _without_addresses(record.args))
    return words


def _without_addresses(args: tuple[object, ...] | Mapping[str, object]) -> Any:
    if isinstance(args, Mapping):
        return args
    return tuple(WITHHELD if isinstance(arg, RequestLine) else arg for arg in args)


def _foreign_message(record: logging.LogRecord) -> str:
    """Return the text in the source with only its whole numbers: a float may be a location, and a text a name."""
    if not record.args or type(record.msg) is not str:
        # The other package may have formatted the text itself.
        return f"{WITHHELD} ({record.module}:{record.lineno})"
    with suppress(Exception):
        return str(_template(record.msg, record.args) % _harmless(record.args))
    return record.msg


def _template(message: str, args: tuple[object, ...] | Mapping[str, object]) -> str:
    """Return ``message`` with ``%s`` for each number that is withheld."""
    values = iter(args) if isinstance(args, tuple) else None

    def converted(found: re.Match[str]) -> str:
        name, kind = found[1], found[2]
        if kind is None:
            return found[0]
        value = args[name[1:-1]] if isinstance(args, Mapping) and name else next(values, None) if values else None
        return f"%{name or ''}s" if kind in NUMERIC and _number(value) is WITHHELD else found[0]

    return CONVERSION.sub(converted, message)


def _harmless(args: tuple[object, ...] | Mapping[str, object]) -> Any:
    """Return ``args`` with all values except whole numbers withheld."""
    if isinstance(args, Mapping):
        return {name: _number(value) for name, value in args.items()}
    return tuple(map(_number, args))


def _number(value: object) -> object:
    return value if type(value) in (int, bool) else WITHHELD


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Return the attributes to write. Another package's record keeps only a status code and the reason found by ``request_log``."""
    if _is_ours(record):
        return {name: getattr(record, name) for name in EXTRA if hasattr(record, name)}
    found: dict[str, Any] = {}
    status, reason = getattr(record, "status_code", None), getattr(record, "reason", None)
    if type(status) is int and f"{record.name}.".startswith(LOGGERS):
        found["status_code"] = status
    if type(reason) is Reason:
        found["reason"] = reason
    return found


def _request(record: logging.LogRecord) -> dict[str, str]:
    """Return the method and the URL pattern. The address itself may contain a search text."""
    request = getattr(record, "request", None)
    method = method_of(request) if isinstance(request, HttpRequest) else None
    found = {"method": method, "route": getattr(getattr(request, "resolver_match", None), "route", None)}
    return {name: str(value) for name, value in found.items() if value is not None}


def _exception(record: logging.LogRecord) -> dict[str, Any]:
    if not record.exc_info or record.exc_info[1] is None:
        return {}
    error = record.exc_info[1]
    diagnosis = getattr(error.__cause__ or error, "diag", None)
    names = ("sqlstate", "table_name", "constraint_name") if isinstance(diagnosis, Diagnostic) else ()
    return {
        "exception": [_kind(one) for one in _chain(error)],
        "where": _frames(error.__traceback__),
        **{name: value for name in names if (value := getattr(diagnosis, name)) is not None},
    }


def _chain(error: BaseException) -> list[BaseException]:
    """Return the exception and its causes."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not any(cause is one for one in chain):
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return chain


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def _frames(found: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(found)[-MAX_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
