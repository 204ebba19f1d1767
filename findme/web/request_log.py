"""Log one short line for each refused request.

Django logs a traceback for a PermissionDenied or a SuspiciousOperation, and a complete address for a 404. Any client can cause any number of
these, and can put anything into the address and the headers.
"""

from __future__ import annotations

import copy
import logging
import re
import sys
from contextlib import suppress
from typing import TextIO

from django.http import HttpRequest

EMAIL = re.compile(r"(?<![^\s@\"'<>()\[\]{},;:=])[^\s@\"'<>()\[\]{},;:=]+@[^\s@\"'<>()\[\]{},;:=]+")
"""Matches only at the beginning of a word. Otherwise the time for a long word without an @ would grow with the square of its length."""
TOKEN = re.compile(r"(/privacy/export/).+")
"""The address of an export, whose end is the only key of its file."""
MASKED_EMAIL = "<e-mail>"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
OTHER_METHOD = "OTHER"
LONGEST = 100
"""Characters of an address, a host or a reason."""
MAX_EMAIL_LENGTH = 320
LOGGERS = ("django.request.", "django.security.")
CSRF_LOGGER = "django.security.csrf"
FIRST_REFUSAL, FIRST_FAILURE = 400, 500


def shown(text: str) -> str:
    """Return the text for a log: quoted, ASCII, of at most ``LONGEST`` characters, without a query string and with e-mail addresses masked."""
    path = text[: LONGEST + MAX_EMAIL_LENGTH].partition("?")[0].replace("%40", "@")
    masked = TOKEN.sub(r"\1...", EMAIL.sub(MASKED_EMAIL, path))
    return ascii(masked if len(masked) <= LONGEST else f"{masked[:LONGEST]}...")


def method_of(request: HttpRequest) -> str:
    """Return the method; a client may send any word."""
    return request.method if request.method in METHODS else OTHER_METHOD


class RequestLine:
    """The method and the address of a request, as text for the log. ``LOG_FORMAT=json`` omits it."""

    def __init__(self, request: HttpRequest) -> None:
        self._text = f"{method_of(request)} {shown(request.path)}"

    def __str__(self) -> str:
        return self._text


class Reason(str):
    """The kind of a refusal, determined by this module. ``LOG_FORMAT=json`` writes no reason of another package."""

    __slots__ = ()


class Stderr(logging.StreamHandler[TextIO]):
    """The handler of all records. It replaces Django's records of refused requests by short ones."""

    def handle(self, record: logging.LogRecord) -> bool:
        written = record
        if record.name == "django.server":  # of runserver: it writes the complete request line
            record.msg, record.args = TOKEN.sub(r"\1...", record.getMessage()), None
        with suppress(Exception):  # if an argument's __str__ raises, handleError reports it; the logging code must not fail
            written = in_one_line(record)
        if written is not record and not logging.getLogger(written.name).isEnabledFor(written.levelno):
            return False
        return bool(super().handle(written))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is logging's
        """Report the source line of a record that cannot be written. ``logging`` would print its arguments, which may be personal data."""
        error = sys.exc_info()[0]
        with suppress(Exception):
            sys.stderr.write(
                f"A log record cannot be written ({error.__name__ if error else 'unknown'}): {record.module}:{record.lineno}\n"
            )


def in_one_line(record: logging.LogRecord) -> logging.LogRecord:
    """Return a new record for a request that Django has answered with an error, and every other record unchanged.

    A refusal (4xx) is a warning without a traceback. A failure (5xx) keeps its level and its traceback.
    """
    status = getattr(record, "status_code", None)
    if not f"{record.name}.".startswith(LOGGERS) or not isinstance(status, int) or status < FIRST_REFUSAL:
        return record
    written = copy.copy(record)
    request = getattr(record, "request", None)
    line = f": {RequestLine(request)}" if isinstance(request, HttpRequest) else ""
    reason, detail = _reason(record)
    if reason is not None:
        written.__dict__["reason"] = Reason(reason)
        line += f" ({reason}{detail})"
    written.msg, written.args = "The request was answered with %d%s", (status, line)
    if status < FIRST_FAILURE:
        written.levelno, written.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        written.exc_info = written.exc_text = written.stack_info = None
    return written


def _reason(record: logging.LogRecord) -> tuple[str | None, str]:
    """Return the kind of the refusal, and what the log in text adds to it."""
    if record.name == CSRF_LOGGER:
        words = record.args[0] if isinstance(record.args, tuple) and record.args else ""
        return "CSRF", f": {shown(str(words))}"
    if not record.exc_info or record.exc_info[0] is None:
        return None, ""
    kind = record.exc_info[0].__name__
    request = getattr(record, "request", None)
    if kind == "DisallowedHost" and isinstance(request, HttpRequest):
        return kind, f": {shown(str(request.META.get('HTTP_HOST', '')))}"
    return kind, ""
