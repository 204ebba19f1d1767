"""``process_requests``: complete privacy actions, delete contact addresses whose time is over, and remind the officer of deadlines."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.commands.running import log_batch, note_counts
from findme.core.commands.shutdown import GracefulShutdown, ShutdownRequested
from findme.core.plurals import counted
from findme.core.postgresql.statement_limit import statement_limit
from findme.core.program import INTERRUPTED
from privacy.requests.jobs import Processed, Reminder, process, watch

STATEMENT_SECONDS = 30.0
"""Limit for one statement: after it, PostgreSQL counts as unavailable."""


NOTHING = Processed(0, 0, {}, 0, "", (), (), (), ())


class Command(FindmeCommand):
    help = (
        "Complete privacy actions that plain SQL or a killed process has begun, carry out approved erasures, delete contact addresses of requests"
        " after the time for complaints and exports after their download,"
        " and name requests that are late or due within 7 days."
        " Several can run at the same time, on any machine."
    )
    after_interrupt = "Deleted addresses stay deleted: run this again for the rest."

    def add_arguments(self, parser: CommandParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--once", action="store_true", help="run every job once, then exit (the default)")
        how.add_argument("--watch", action="store_true", help="run until SIGTERM or Ctrl-C, even while PostgreSQL is unavailable")
        parser.add_argument("--json", action="store_true", help="print one JSON document, or with --watch one per line")

    def handle(self, *args: Any, **options: Any) -> None:
        self.as_json, self.last = options["json"], NOTHING
        shutdown = GracefulShutdown({signal.SIGTERM: 0, signal.SIGINT: 0 if options["watch"] else INTERRUPTED})
        results: list[Processed] = []
        with statement_limit(STATEMENT_SECONDS), shutdown.signals_handled(), suppress(ShutdownRequested):
            if options["watch"]:
                self.print_line(json.dumps({"watching": "requests"}) if self.as_json else "Watching the requests. Ctrl-C ends it.")
                self.stdout.flush()
                shutdown.run(lambda: watch(shutdown.requested, self._print_change, self._report_unavailable))
                return
            shutdown.run(lambda: results.append(process(shutdown.requested)))
        if not results:
            return
        note_counts(results[0])
        if self.as_json:
            self.print_json(_as_json(results[0]))
        else:
            self._print_lines(results[0])
        found = results[0]
        if any((found.late, found.actions_waiting, found.exports_waiting, found.erasures_waiting, found.found_again)):
            self.exit_with_findings()

    def _print_change(self, result: Processed) -> None:
        """Print a run that deleted something, or whose reminders differ from those of the last run."""
        reminders = replace(result, contacts_deleted=0, actions_completed=0, exports_deleted=0, erasures_done=0, purged=0)
        done = result.contacts_deleted or result.actions_completed or result.exports_deleted or result.erasures_done or result.purged
        if reminders == self.last and not done:
            return
        self.last = reminders
        log_batch(result)
        if self.as_json:
            self.print_line(json.dumps(_as_json(result), default=str))
        else:
            self._print_lines(result)
        self.stdout.flush()

    def _print_lines(self, result: Processed) -> None:
        for line in _lines(result):
            self.print_line(line)

    def _report_unavailable(self, why: str) -> None:
        self.stderr.write(f"{why.rstrip('.')}. Trying again.")
        self.stderr.flush()


def _as_json(result: Processed) -> dict[str, Any]:
    waiting = ("actions_waiting", "erasures_waiting")
    return asdict(result) | {name: {str(key): reason for key, reason in getattr(result, name).items()} for name in waiting}


def _lines(result: Processed) -> Iterator[str]:
    yield f"{counted(result.contacts_deleted, 'contact address', 'contact addresses')} deleted."
    yield f"{counted(result.actions_completed, 'privacy action')} completed."
    for user_id, reason in result.actions_waiting.items():
        yield f"{user_id}: the privacy action must wait. {reason}"
    if result.exports_deleted:
        yield f"{counted(result.exports_deleted, 'export')} deleted."
    if result.exports_waiting:
        yield f"Exports cannot be deleted. {result.exports_waiting}"
    if result.erasures_done:
        yield f"{counted(result.erasures_done, 'approved erasure')} carried out."
    for request_id, reason in result.erasures_waiting.items():
        yield f"{request_id}: the erasure must wait. {reason}"
    if result.purged:
        yield f"{counted(result.purged, 'erasure')} purged: no byte is left in the stores, their snapshots and the backups."
    for erasure_id in result.found_again:
        yield f"{erasure_id}: a scan found data of an erased user in a store. Run manage.py verify_qdrant --repair"
    for one in result.late:
        yield f"{_named(one)}: late by {counted(-one.days, 'day')}, due on {one.due_on}."
    for one in result.due_soon:
        yield f"{_named(one)}: due on {one.due_on}, in {counted(one.days, 'day')}."
    for one in result.waiting:
        yield f"{_named(one)}: waits for proof of identity since {counted(one.days, 'day')}."
    for request_id in result.recipients_open:
        yield f"{request_id}: answered, but not every recipient is informed."


def _named(one: Reminder) -> str:
    return f"{one.id} ({one.kind}, {one.state})"
