"""Log records as JSON, one a line, without a datum of a person: for ``LOG_FORMAT=json``.

An exception stands with its kind and its place in the code, and without its words: PostgreSQL's have the values of the row. Of other packages'
records only the text in their source is written, with whole numbers: what they put into it may be a path, a parameter or a name.
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
"""Loggers of this project: their records have ids and counts, and no value of a row."""
WITHHELD = "..."
MOST_FRAMES = 20
EXTRA = ("duration_seconds", "exit_code", "counts", "status_code", "reason")
"""Attributes of a record of ours that are written. Another package can give its records the same names, with any values."""
CONVERSION = re.compile(r"%%|%(\([^)]*\))?[#0\- +]*(?:\d+|\*)?(?:\.(?:\d+|\*))?[hlL]?([a-zA-Z])")
NUMERIC = frozenset("diouxXeEfFgGc")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Never raises: ``logging`` would print the record's raw arguments then."""
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
    """Never raises: a record that cannot be formatted is written all the same, by its place in the code."""
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
    """The text of the source, with whole numbers and nothing else of the arguments: a float may be a place, and a text a name."""
    if not record.args or type(record.msg) is not str:
        # It may have been put together already.
        return f"{WITHHELD} ({record.module}:{record.lineno})"
    with suppress(Exception):
        return str(_template(record.msg, record.args) % _harmless(record.args))
    return record.msg


def _template(message: str, args: tuple[object, ...] | Mapping[str, object]) -> str:
    """``message`` with ``%s`` for each number that is withheld."""
    values = iter(args) if isinstance(args, tuple) else None

    def converted(found: re.Match[str]) -> str:
        name, kind = found[1], found[2]
        if kind is None:
            return found[0]
        value = args[name[1:-1]] if isinstance(args, Mapping) and name else next(values, None) if values else None
        return f"%{name or ''}s" if kind in NUMERIC and _number(value) is WITHHELD else found[0]

    return CONVERSION.sub(converted, message)


def _harmless(args: tuple[object, ...] | Mapping[str, object]) -> Any:
    """``args`` with their whole numbers, and nothing else of theirs."""
    if isinstance(args, Mapping):
        return {name: _number(value) for name, value in args.items()}
    return tuple(map(_number, args))


def _number(value: object) -> object:
    return value if type(value) in (int, bool) else WITHHELD


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """The attributes of a record of ours. Another package's record keeps a status code, and the reason that ``request_log`` has found."""
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
    """The method and the pattern of the address: the address itself may have what was searched for."""
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
    """The exception and what it came from."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and not any(following is one for one in chain):
        chain.append(following)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return chain


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def _frames(found: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(found)[-MOST_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
