"""Tell permanent errors of PostgreSQL, which need the operator, from temporary errors.

Every job that waits for PostgreSQL uses ``needs_operator``.
"""

from __future__ import annotations

import os
import re
import select
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import errors, pq
from psycopg.conninfo import make_conninfo

from findme.core.postgresql.diagnosis import refusal_reason
from findme.core.postgresql.variables import options
from findme.core.waiting import Deadline

NEEDS_OPERATOR = ("0A", "22", "28", "3D", "42", "54", "57P04", "XX001", "XX002")
"""SQLSTATEs and their classes: a wrong password, role, database or setting, a missing permission, corrupted data.

Other errors of a connection can be temporary: 08 (connection), 40 (deadlock), 53 (resources), 55 and 57 (locks, shutdown, startup), 58 (system).
"""
LIBPQ_REFUSES = re.compile(
    "certificate|private key file|SSL error: (?!unexpected eof)|does not support SSL|no password supplied"
    "|authentication method requirement|channel binding|failed: Permission denied"
)
"""libpq's own errors. They are in English because Python does not set LC_MESSAGES. Errors of the server are in its language."""
SEVERITY_END = ":  "
"""In every language, libpq writes this between the severity and the text of an error of the server."""
POOLER = "08P01"
POOLER_REFUSES = re.compile("authentication failed|login rejected|no such (?:user|database)|does not exist|unsupported startup parameter")
"""PgBouncer sends the SQLSTATE 08P01 with nearly every error, also for a full pool. Its texts are always in English."""
SENT = re.compile(rb'ErrorResponse\t.*? C "([0-9A-Z]{5})" M ([^\n]*)')
SECONDS = 10.0


def needs_operator(error: BaseException) -> bool:
    """Return whether the Django error ``error`` is permanent until the operator acts.

    False if that is unknown.
    libpq does not pass on the SQLSTATE of a failed connection. If the server rejected the connection, this connects again to read it.
    """
    cause = error.__cause__
    if not isinstance(cause, psycopg.Error):
        return False
    if isinstance(cause, errors.ReadOnlySqlTransaction):
        # After a failover, only the old session is read-only. A new session can write.
        return refusal_reason(error) is not None
    if cause.sqlstate is not None:
        return cause.sqlstate.startswith(NEEDS_OPERATOR)
    if not isinstance(cause, psycopg.OperationalError):
        return False
    if LIBPQ_REFUSES.search(str(cause)):
        return True
    return SEVERITY_END in str(cause) and _is_refused_again()


def _is_refused_again() -> bool:
    known = options()
    try:
        parameters = connections[DEFAULT_DB_ALIAS].get_connection_params()
        refusals = _refusals_of_attempt(make_conninfo(**{name: value for name, value in parameters.items() if name in known}))
    except psycopg.Error:
        return False
    return bool(refusals) and all(refusals)


def _refusals_of_attempt(conninfo: str) -> list[bool]:
    """Connect once. Return for each error that a server sent whether it needs the operator.

    Only libpq's trace shows these errors. It is written to a file in memory, because it contains the answers to the server's authentication requests.
    """
    # psycopg supports the trace on Linux only.
    if not hasattr(os, "memfd_create"):
        return []
    with os.fdopen(os.memfd_create("findme"), "w+b", buffering=0) as trace:
        session = pq.PGconn.connect_start(conninfo.encode())
        try:
            session.trace(trace.fileno())
            _poll(session, Deadline(SECONDS))
            session.untrace()
        finally:
            session.finish()
        trace.seek(0)
        return [_is_refusal(state.decode(), text.decode(errors="replace")) for state, text in SENT.findall(trace.read())]


def _is_refusal(sqlstate: str, text: str) -> bool:
    return bool(POOLER_REFUSES.search(text)) if sqlstate == POOLER else sqlstate.startswith(NEEDS_OPERATOR)


def _poll(session: Any, deadline: Deadline) -> None:
    events = {pq.PollingStatus.READING: select.POLLIN, pq.PollingStatus.WRITING: select.POLLOUT}
    while session.status != pq.ConnStatus.BAD and (event := events.get(session.connect_poll())):
        waiting = select.poll()
        waiting.register(session.socket, event)
        if not waiting.poll(deadline.remaining() * 1000):
            return
