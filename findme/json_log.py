"""Log records as JSON, one a line, without a datum of a person: for ``LOG_FORMAT=json``.

An exception stands with its kind and its place in the code, and without its words: PostgreSQL's have the values of the row. Of other packages'
records only the text in their source is written, with numbers: what they put into it may be a path, a parameter or a name.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from django.http import HttpRequest

from findme.console.running import running_command
from findme.request_log import EMAIL, MASKED_EMAIL, RequestLine, method_of

OURS = frozenset({"findme", "accounts", "videos", "matching", "calls", "vectorstore", "privacy"})
"""Loggers of this project: their records have ids and counts, and no value of a row."""
WITHHELD = "..."
MOST_FRAMES = 20
NUMBERS = (int, float)
EXTRA = ("duration_seconds", "exit_code", "counts", "status_code", "reason")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": EMAIL.sub(MASKED_EMAIL, _message(record)),
            "process": record.process,
            "command": running_command(),
            **{name: getattr(record, name) for name in EXTRA if hasattr(record, name)},
            **_request(record),
            **_exception(record),
        }
        return json.dumps(entry, default=str)


def _message(record: logging.LogRecord) -> str:
    """Never raises: a record that cannot be formatted is written all the same."""
    if record.name.partition(".")[0] in OURS:
        try:
            return str(str(record.msg) % _without_addresses(record.args)) if record.args else str(record.msg)
        except (TypeError, ValueError, KeyError):
            return str(record.msg)
    if not record.args:
        # It may have been put together already.
        return f"{WITHHELD} ({record.module}:{record.lineno})"
    try:
        return str(str(record.msg) % _harmless(record.args))
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def _without_addresses(args: tuple[object, ...] | Mapping[str, object]) -> Any:
    if isinstance(args, Mapping):
        return args
    return tuple(WITHHELD if isinstance(arg, RequestLine) else arg for arg in args)


def _harmless(args: tuple[object, ...] | Mapping[str, object]) -> Any:
    """``args`` with their numbers, and nothing else of theirs."""
    if isinstance(args, Mapping):
        return {name: _number(value) for name, value in args.items()}
    return tuple(map(_number, args))


def _number(value: object) -> object:
    return value if isinstance(value, NUMBERS) else WITHHELD


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
    return {
        "exception": [_kind(one) for one in _chain(error)],
        "where": _frames(error.__traceback__),
        **{name: value for name in ("sqlstate", "table_name", "constraint_name") if (value := getattr(diagnosis, name, None)) is not None},
    }


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and what it came from."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return chain


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def _frames(found: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(found)[-MOST_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
