"""Make the collection in Qdrant as it is declared, or say how it differs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from findme.console.command import FindmeCommand
from findme.management.waiting import seconds
from vectorstore.comparison import State
from vectorstore.initialisation import GREEN_SECONDS, compare, initialise
from vectorstore.plan import Plan, what_to_do


class Command(FindmeCommand):
    help = "Make the Qdrant collection as FindMe declares it: prints what it changes, and changes it. Run again, there is nothing to do."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--check", action="store_true", help="change nothing; exit 1 and name each difference if there is one")
        what.add_argument(
            "--plan", "--dry-run", dest="plan", action="store_true", help="change nothing; print what would be changed, and what that takes"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")
        parser.add_argument(
            "--wait",
            type=seconds,
            default=GREEN_SECONDS,
            metavar="SECONDS",
            help="how long to wait for Qdrant to rebuild its graphs after a change (default %(default)g)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["check"]:
            self._check(compare(), as_json=options["json"])
        elif options["plan"]:
            self._plan(compare(), as_json=options["json"])
        else:
            self._initialise(options["wait"], as_json=options["json"])

    def _plan(self, planned: Plan, *, as_json: bool) -> None:
        if as_json:
            self._say_json(planned, changed=False)
            return
        self._say_plan(planned, "differ" if planned.refused else "would be changed")
        if planned.refused:
            self.say(f"It would be refused. {what_to_do(planned, planned.refused)}")

    def _check(self, found: Plan, *, as_json: bool) -> None:
        if as_json:
            self._say_json(found, changed=False)
        elif found.differences:
            self._say_plan(found, "differ")
        else:
            self.say(f"{_name(found)} is as declared.{_not_compared(found)}")
        if found.differences:
            self.something_to_look_at()

    def _initialise(self, wait: float, *, as_json: bool) -> None:
        done = initialise((lambda _: None) if as_json else (lambda planned: self._say_plan(planned, "to change")), green_seconds=wait)
        if as_json:
            self._say_json(done.planned, changed=bool(done.planned.differences), status=done.status)
        elif done.planned.differences:
            self.say("Done, and read back.")
        if not done.green:
            self.stderr.write(f"{done.planned.collection} is still {done.status} after {wait:g} s: Qdrant goes on building its graphs.")
            self.something_to_look_at()

    def _say_plan(self, planned: Plan, how: str) -> None:
        if not planned.differences:
            self.say(f"{_name(planned)}: nothing to do.{_not_compared(planned)}")
            return
        self.say(f"{_name(planned)}: {len(planned.differences)} {how}.{_not_compared(planned)}")
        for difference in planned.differences:
            self.say(f"  {difference}")

    def _say_json(self, planned: Plan, *, changed: bool, status: str | None = None) -> None:
        self.say_json(
            {
                "alias": planned.alias,
                "collection": planned.collection,
                "embedded": planned.embedded,
                "differences": len(planned.differences),
                "changed": changed,
                "status": status,
                "comparisons": planned.comparisons,
            }
        )


def _name(planned: Plan) -> str:
    return f"{planned.alias} ({planned.collection})"


def _not_compared(planned: Plan) -> str:
    if not any(one.state is State.NOT_APPLICABLE for one in planned.comparisons):
        return ""
    return (
        f" Embedded in {settings.QDRANT_PATH!r}, which has no graph, thresholds or payload indexes: for those, set QDRANT_URL to a server."
    )
