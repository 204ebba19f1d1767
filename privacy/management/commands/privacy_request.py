"""``privacy_request ACTION``: record a request of a data subject and take it through its steps."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Q

from findme.core.commands.base import FindmeCommand
from findme.core.plurals import counted
from privacy.local_dates import today
from privacy.management.request_arguments import ACTIONS
from privacy.models import DataSubjectRequest
from privacy.models.request_choices import (
    ExtensionReason,
    Ground,
    Kind,
    Method,
    NotInformedReason,
    Processing,
    WithdrawalReason,
)
from privacy.registry import Effect
from privacy.requests import steps
from privacy.requests.erasure_summary import ErasureSummary
from privacy.requests.fulfilment import erase_request, preview_of_approval
from privacy.requests.locking import require
from privacy.requests.summary import RequestSummary, late, listed, open_requests, summarize, summarize_each
from privacy.users import find_user_id


class Command(FindmeCommand):
    help = "Record a request of a data subject (GDPR, articles 15 to 21 and 7 (3)), show requests, and take one through its steps."
    after_interrupt = "privacy_request show ID shows the state of the request."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar=" | ".join(ACTIONS), required=True)
        for name, (about, add) in ACTIONS.items():
            one = actions.add_parser(name, help=about, description=about)
            # The parser of the command reports an error in one line.
            one.error = lambda message: parser.error(message)  # type: ignore[method-assign]
            add(one)
            one.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action'].replace('-', '_')}")(options)

    def _record(self, options: dict[str, Any]) -> None:
        request = steps.record(
            Kind(options["kind"]),
            user_id=find_user_id(options["user"]) if options["user"] else None,
            contact=_contact(options["contact"]) if options["contact"] else None,
            processing=Processing(options["processing"]) if options["processing"] else None,
            received_on=options["received_on"],
        )
        self._show_request(request, options)

    def _list(self, options: dict[str, Any]) -> None:
        condition = Q() if options["all"] or options["state"] or options["late"] else open_requests()
        if options["state"]:
            condition &= Q(state=options["state"])
        if options["kind"]:
            condition &= Q(kind=options["kind"])
        if options["late"]:
            condition &= late(today())
        found = listed().filter(condition)
        summaries = list(summarize_each(found[: options["limit"]]))
        total = found.count()
        if options["json"]:
            self.print_json({"requests": summaries, "total": total})
            return
        for one in summaries:
            self.print_line(_line(one))
        more = f", the first {len(summaries):,} are shown" if len(summaries) < total else ""
        self.print_line(f"{counted(total, 'request')}{more}.")

    def _show(self, options: dict[str, Any]) -> None:
        request = require(options["id"])
        self._show_request(request, options, contact=options["contact"], preview=preview_of_approval(request))

    def _ask_identity(self, options: dict[str, Any]) -> None:
        self._show_request(steps.ask_identity(options["id"], asked_on=options["on"]), options)

    def _confirm_identity(self, options: dict[str, Any]) -> None:
        user_id = find_user_id(options["user"]) if options["user"] else None
        request = steps.confirm_identity(options["id"], Method(options["method"]), user_id=user_id, confirmed_on=options["on"])
        self._show_request(request, options)

    def _extend(self, options: dict[str, Any]) -> None:
        self._show_request(steps.extend(options["id"], ExtensionReason(options["reason"]), informed_on=options["informed_on"]), options)

    def _approve(self, options: dict[str, Any]) -> None:
        self._show_request(steps.approve(options["id"]), options)

    def _erase(self, options: dict[str, Any]) -> None:
        self._show_request(erase_request(options["id"]), options)

    def _refuse(self, options: dict[str, Any]) -> None:
        request = steps.refuse(
            options["id"],
            Ground(options["ground"]),
            informed_of_remedies=options["informed_of_remedies"],
            informed_on=options["informed_on"],
        )
        self._show_request(request, options)

    def _stop(self, options: dict[str, Any]) -> None:
        self._show_request(steps.stop(options["id"], stopped_on=options["on"]), options)

    def _answer(self, options: dict[str, Any]) -> None:
        self._show_request(steps.answer(options["id"], answered_on=options["on"]), options)

    def _withdraw(self, options: dict[str, Any]) -> None:
        self._show_request(steps.withdraw(options["id"], WithdrawalReason(options["reason"]), withdrawn_on=options["on"]), options)

    def _tell_recipient(self, options: dict[str, Any]) -> None:
        not_informed = NotInformedReason(options["not_informed"]) if options["not_informed"] else None
        row = steps.inform_recipient(options["id"], options["recipient"], informed_on=options["on"], not_informed=not_informed)
        self._show_request(row.request, options)

    def _set_contact(self, options: dict[str, Any]) -> None:
        self._show_request(steps.correct_contact(options["id"], _contact(options["contact"])), options)

    def _show_request(
        self, request: DataSubjectRequest, options: dict[str, Any], *, contact: bool = False, preview: Sequence[Effect] = ()
    ) -> None:
        """Print the request, and with ``preview`` what its approval would begin. Only with ``contact`` the output has personal data."""
        summary = summarize(request)
        if options["json"]:
            more = {"preview": [asdict(effect) for effect in preview]} if preview else {}
            self.print_json(asdict(summary) | more | ({"contact": request.contact} if contact else {}))
            return
        for line in _lines(summary):
            self.print_line(line)
        if preview:
            self.print_line("The erasure that you can approve would do this now:")
        for effect in preview:
            self.print_line(f"  {effect}")
        if contact:
            self.print_line(f"  contact: {request.contact or 'none'}")


def _line(one: RequestSummary) -> str:
    when = f"closed on {one.closed_on}" if one.closed_on else "paused" if one.is_paused else f"due on {one.due_on}"
    return f"{one.id}  {one.kind}  {one.state}  {when}{'  LATE' if one.is_late else ''}  user {one.user_id or 'none'}"


def _lines(one: RequestSummary) -> Iterator[str]:
    yield _line(one)
    for name, value in asdict(one).items():
        if name in ("id", "kind", "state", "user_id", "closed_on", "recipients", "erasure", "task", "next", "is_late", "is_paused"):
            continue
        if value not in (None, 0):
            yield f"  {name}: {value}"
    for row in one.recipients:
        outcome = f"informed on {row.informed_on}" if row.informed_on else row.not_informed_reason or "not informed yet"
        yield f"  recipient {row.recipient}: {outcome}"
    if one.erasure is not None:
        yield from _erasure_lines(one.erasure)
    if one.task:
        yield f"To do: {one.task}"
    if one.next:
        yield f"Next: {one.next}"


def _erasure_lines(one: ErasureSummary) -> Iterator[str]:
    ends = [
        f"{name} at {at:%Y-%m-%d %H:%M}"
        for name, at in (("erased", one.erased_at), ("purged", one.purged_at), ("stopped", one.stopped_at))
        if at
    ]
    reason = f" ({one.stop_reason})" if one.stop_reason else ""
    yield f"  erasure {one.id}: {one.state}{reason}, plan of {one.sealed_at:%Y-%m-%d %H:%M}{''.join(f', {end}' for end in ends)}"
    for step in one.steps:
        yield f"    {step}"


def _contact(text: str) -> str:
    """Return the text, or for ``-`` the first line of standard input, which no other account can see."""
    return sys.stdin.readline() if text == "-" else text
