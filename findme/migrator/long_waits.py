"""Report a statement without ``lock_timeout`` that waits for long: CREATE INDEX CONCURRENTLY and VALIDATE CONSTRAINT wait for older transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from django.db import Error
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from findme.core.postgresql.statement_limit import statement_limit

LONG_SECONDS = 10.0
"""A shorter wait is not reported."""
ANSWER_SECONDS = 5.0
"""How long the reporting session waits for PostgreSQL."""

# PostgreSQL shows when a transaction of another role began only to a superuser, a member of that role, and a member of pg_read_all_stats.
_WAITS_FOR = """
    SELECT round(extract(epoch FROM clock_timestamp() - l.waitstart)), blocker, a.application_name,
        round(extract(epoch FROM clock_timestamp() - a.xact_start))
    FROM pg_locks l CROSS JOIN unnest(pg_blocking_pids(l.pid)) AS blocker LEFT JOIN pg_stat_activity a ON a.pid = blocker
    WHERE l.pid = %s AND NOT l.granted AND l.waitstart < clock_timestamp() - make_interval(secs => %s)
    ORDER BY a.xact_start LIMIT 1
"""
_PREPARED = """
    SELECT gid, round(extract(epoch FROM clock_timestamp() - prepared)) FROM pg_prepared_xacts
    WHERE database = current_database() ORDER BY prepared LIMIT 1
"""


@contextmanager
def long_waits_reported(connection: BaseDatabaseWrapper, subject: str, on_warning: Callable[[str], object]) -> Iterator[None]:
    """Call ``on_warning`` when a statement of ``connection`` has waited ``LONG_SECONDS`` in the block, and for each further transaction.

    Another session looks for the wait, in a thread. It connects only when the block has lasted so long. Without such a session, nothing is reported.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    ended = threading.Event()
    arguments = (connection, pid, ended, lambda text: on_warning(f"{subject}: {text}"))
    # If PostgreSQL does not answer, the process must not wait for the thread.
    thread = threading.Thread(target=_report, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(ANSWER_SECONDS)


def _report(connection: BaseDatabaseWrapper, pid: int, ended: threading.Event, on_warning: Callable[[str], object]) -> None:
    if ended.wait(LONG_SECONDS):
        return
    reported: str | None = None
    with statement_limit(ANSWER_SECONDS), closing(connection.copy(alias=NO_DB_ALIAS)) as own:
        while not ended.wait(LONG_SECONDS / 10):
            try:
                with own.cursor() as cursor:
                    cursor.execute(_WAITS_FOR, [pid, LONG_SECONDS])
                    row = cursor.fetchone()
                    blocker, text = _described(cursor, *row) if row else (None, "")
            except Error:
                own.close()
                continue
            if blocker is not None and blocker != reported and not ended.is_set():
                on_warning(text)
                reported = blocker


def _described(cursor: CursorWrapper, waited: int, pid: int, application: str | None, age: int | None) -> tuple[str, str]:
    """Return what holds the lock, and the warning."""
    # For pg_blocking_pids, a prepared transaction is process 0.
    if pid == 0:
        cursor.execute(_PREPARED)
        gid, age = cursor.fetchone() or ("", None)
        what, end = f"the prepared transaction {gid!r}", f"ROLLBACK PREPARED '{gid}'"
    else:
        what, end = f"process {pid} ({application!r})", f"SELECT pg_terminate_backend({pid})"
    since = "" if age is None else f", whose transaction began {age} s ago"
    return what, f"waits for {waited} s now for {what}{since}. It continues when that transaction ends. To end it: {end};"
