"""Apply the queued changes to Qdrant."""

from __future__ import annotations

import gc
import json
import signal
import time
from argparse import ArgumentTypeError
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import DatabaseError, InterfaceError, connection

from findme.core.commands.arguments import add_discard_vectors, seconds_of_a_day
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import ignore_progress
from findme.core.commands.running import log_batch, note_counts
from findme.core.commands.shutdown import GracefulShutdown, ShutdownRequested
from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.plurals import counted
from findme.core.postgresql.statement_limit import statement_limit
from findme.core.program import INTERRUPTED
from vectorstore.consistency.capture_check import capture_warning
from vectorstore.qdrant.address import server_address
from vectorstore.qdrant.connection import collection_name, is_embedded
from vectorstore.queue.entries import Backlog, backlog
from vectorstore.retention.unique_vectors import points_hold
from vectorstore.sync.batch import BATCH_SIZE, LARGEST_BATCH
from vectorstore.sync.results import BatchResult, SyncResult
from vectorstore.sync.watch import watch
from vectorstore.sync.worker import TIMEOUT_SECONDS, sync_once

COUNT_PAUSE = 20
"""Pause before the next count of the queue, as a multiple of the last count's duration. A long queue takes a while to count."""
STATEMENT_SECONDS, SPARE_SECONDS = 30.0, 5.0
"""Limit for one statement. No statement takes this long unless PostgreSQL is frozen; PostgreSQL then counts as unavailable.

With --once, the limit is at most ``SPARE_SECONDS`` above --timeout.
"""


class Command(FindmeCommand):
    help = (
        "Update the points in Qdrant for all users who have changed in PostgreSQL. Several can run at the same time, on any machine."
        " Prints one line per batch: what was done, what remains, and the age of the oldest entry."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--once", action="store_true", help="work until the queue is empty, then exit (the default)")
        how.add_argument("--watch", action="store_true", help="run until SIGTERM or Ctrl-C, even while a store is unavailable")
        parser.add_argument(
            "--batch-size", type=_batch_size, default=BATCH_SIZE, metavar="N", help="users per request (default %(default)s)"
        )
        parser.add_argument(
            "--timeout",
            type=seconds_of_a_day,
            default=TIMEOUT_SECONDS,
            metavar="S",
            help="with --once: seconds to wait without progress for other workers and for a store (default %(default)g)",
        )
        add_discard_vectors(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON document at the end, or with --watch one per line")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["watch"] and options["discard_vectors"] is not None:
            raise UserFacingError("--discard-vectors needs --once. Omit --discard-vectors or --watch.")
        # Otherwise the garbage collector scans every imported object again and again, for a tenth of a second each time.
        gc.freeze()
        lines = _Lines(self, as_json=options["json"])
        is_watching, batch_size, timeout = options["watch"], options["batch_size"], options["timeout"]
        shutdown = GracefulShutdown({signal.SIGTERM: 0, signal.SIGINT: 0 if is_watching else INTERRUPTED})
        limit = STATEMENT_SECONDS if is_watching else min(STATEMENT_SECONDS, timeout + SPARE_SECONDS)
        with statement_limit(limit), shutdown.signals_handled(), suppress(ShutdownRequested):
            if is_watching:
                watch(shutdown, batch_size=batch_size, on_batch=lines.batch, on_unavailable=self._report_unavailable, on_start=lines.start)
                return
            result = sync_once(
                batch_size=batch_size,
                timeout=timeout,
                on_batch=ignore_progress if options["json"] else lines.batch,
                on_unavailable=self._report_unavailable,
                shutdown=shutdown,
                discard_vectors=options["discard_vectors"],
            )
            self._end_of(result, as_json=options["json"])

    def _report_unavailable(self, why: str) -> None:
        self.stderr.write(f"{why.rstrip('.')}. Trying again.")
        self.stderr.flush()

    def _end_of(self, result: SyncResult, *, as_json: bool) -> None:
        note_counts(result)
        self.print_line(json.dumps(asdict(result)) if as_json else _format_result(result))
        if result.stopped:
            return
        if result.unavailable is not None:
            raise StoreUnavailable(
                f"{result.unavailable} {counted(result.remaining.length, 'change remains', 'changes remain')} on the queue."
            )
        warning = capture_warning()
        if warning is not None:
            self.stderr.write(warning)
        if result.unique_vectors:
            raise UserFacingError(
                f"{points_hold(result.unique_vectors)} the only copy of a user's vector: not deleted. Store the vectors in profile_embeddings, or delete"
                f" them with manage.py sync_qdrant --once --discard-vectors {result.unique_vectors}."
            )
        if result.remaining.length or result.remaining.quarantined or warning is not None:
            self.exit_with_findings()


class _Lines:
    """Print one line per batch.

    A line has the length of the queue only if that was just counted. So all numbers of a line are of the same moment.
    """

    def __init__(self, command: FindmeCommand, *, as_json: bool) -> None:
        self.command, self.as_json = command, as_json
        self.next_count = float("-inf")

    def start(self) -> None:
        """Print which stores are watched. A wrong ``DATABASE_URL`` or ``QDRANT_URL`` has no other symptom while the queue is empty."""
        watched = {"postgresql": _postgresql(), "qdrant": _qdrant(), "collection": collection_name()}
        sentence = f"Watching the queue in {watched['postgresql']}, for {watched['collection']!r} in {watched['qdrant']}. Ctrl-C ends it."
        self.command.print_line(json.dumps({"watching": watched}) if self.as_json else sentence)
        self.command.stdout.flush()

    def batch(self, result: BatchResult) -> None:
        remaining = self._count() if time.monotonic() >= self.next_count else None
        log_batch(result)
        self.command.print_line(self._json(result, remaining) if self.as_json else self._line(result, remaining))
        self.command.stdout.flush()

    def _json(self, result: BatchResult, remaining: Backlog | None) -> str:
        return json.dumps(
            {
                "written": result.written,
                "removed": result.removed,
                "quarantined": len(result.rejected),
                "remaining": None if remaining is None else asdict(remaining),
                "unique_vectors": result.unique_vectors,
            }
        )

    def _line(self, result: BatchResult, remaining: Backlog | None) -> str:
        quarantined = f", {len(result.rejected):,} quarantined" if result.rejected else ""
        unique = f", {result.unique_vectors:,} not deleted (the only copy of a vector)" if result.unique_vectors else ""
        return f"{result.written:,} written, {result.removed:,} removed{quarantined}{unique}{'' if remaining is None else f'; {_format_remaining(remaining)}'}."

    def _count(self) -> Backlog | None:
        begun = time.monotonic()
        try:
            return backlog()
        except (DatabaseError, InterfaceError):  # The batch is done. The next step reports that PostgreSQL is unavailable.
            connection.close()
            return None
        finally:
            now = time.monotonic()
            self.next_count = now + COUNT_PAUSE * (now - begun)


def _postgresql() -> str:
    database = connection.settings_dict
    if database["ENGINE"] == "findme.embedded.backend":
        return f"the embedded PostgreSQL in {settings.EMBEDDED_POSTGRES_DIR}"
    host, port = database.get("HOST"), database.get("PORT")
    where = f" at {host}{f':{port}' if port else ''}" if host else ""
    return f"the PostgreSQL database {str(database['NAME'])!r}{where}"


def _qdrant() -> str:
    return f"the embedded Qdrant in {settings.QDRANT_PATH}" if is_embedded() else f"Qdrant at {server_address()}"


def _format_remaining(remaining: Backlog) -> str:
    oldest = f", the oldest {remaining.oldest_seconds:.0f} s old" if remaining.oldest_seconds is not None else ""
    return f"{remaining.length:,} remaining{oldest}"


def _format_result(result: SyncResult) -> str:
    nothing = "Nothing done" if result.remaining.length or result.remaining.quarantined or result.unique_vectors else "Nothing to do"
    done = f"{counted(result.written, 'point')} written, {result.removed:,} removed" if result.written or result.removed else nothing
    rest = f"; {_format_remaining(result.remaining)}" if result.remaining.length else ""
    quarantined = (
        f"; {counted(result.remaining.quarantined, 'user is', 'users are')} quarantined: see the admin, or change them"
        if result.remaining.quarantined
        else ""
    )
    return f"{done}{rest}{quarantined}."


def _batch_size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LARGEST_BATCH):
        raise ArgumentTypeError(f"{text!r} is not a number from 1 to {LARGEST_BATCH}")
    return int(text)
