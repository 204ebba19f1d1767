"""Apply the definition of the collection to Qdrant, or show the differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from findme.core.commands.arguments import add_after_restore, add_discard_vectors, duration, number, seconds
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import ignore_progress, progress
from findme.core.commands.signals import interrupted_by_sigterm
from findme.core.plurals import counted, plural
from findme.core.program import NOT_DONE
from findme.core.triggers.problems import trigger_problems
from findme.migrator.earlier_schema import require_current_names
from vectorstore.adoption.adopt import Adopted, Options, adopt, tidy_up_after_kill
from vectorstore.adoption.fence import interruption
from vectorstore.consistency.comparison_due import comparison_due_at, comparison_due_warning
from vectorstore.consistency.possibly_erased import PossiblyErased
from vectorstore.management.adoption_report import adoption_json, adoption_plan
from vectorstore.retention.unique_vectors import points_hold
from vectorstore.schema.diff import State
from vectorstore.schema.initialize import GREEN_SECONDS, OnPlan, compare, initialize
from vectorstore.schema.plan import Plan, describe_refusal

OF_ADOPTIONS = ("discard_vectors", "after_restore", "retain", "temporary_folder", "node")
"""Options that need --adopt."""


class Command(FindmeCommand):
    help = "Create or change the Qdrant collection as FindMe defines it, and print the changes. A second run changes nothing."
    after_interrupt = "Run it again: it changes what still differs."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--check",
            action="store_true",
            help="change nothing; exit 1 and name each difference, a restored store, a lost trigger, or a comparison that is due",
        )
        what.add_argument(
            "--plan", "--dry-run", dest="plan", action="store_true", help="change nothing; print each change, and how it would be made"
        )
        parser.add_argument(
            "--adopt",
            action="store_true",
            help="adopt a collection that belongs to another database or has the name of the alias; removes points without a user in PostgreSQL",
        )
        parser.add_argument(
            "--max-changes",
            type=number,
            metavar="N",
            help="with --adopt: maximum number of points to remove (default: 100, or 5 %% of the points if that is more)",
        )
        parser.add_argument("--force", action="store_true", help="with --adopt: remove any number of points")
        add_discard_vectors(parser)
        add_after_restore(parser)
        parser.add_argument(
            "--retain",
            type=duration,
            metavar="DURATION",
            help="with --adopt: how long to retain a copy of a replaced collection: 12h, 7d (default: 7d; 0d retains none)",
        )
        parser.add_argument(
            "--temporary-folder",
            type=Path,
            metavar="DIR",
            help="with --adopt: where to download the snapshot for the copy, and for other temporary files (default: the system's folder for temporary files)",
        )
        parser.add_argument(
            "--node",
            action="append",
            default=[],
            metavar="URL",
            help="with --adopt, in a cluster: the REST URL of a node (repeat it for every node)",
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
        if not options["adopt"] and (options["force"] or options["max_changes"] is not None):
            raise CommandError("--force and --max-changes need --adopt. Add --adopt, or omit them.", returncode=NOT_DONE)
        for name in OF_ADOPTIONS if not options["adopt"] else ():
            if options[name] not in (None, False, []):
                raise CommandError(f"--{name.replace('_', '-')} needs --adopt. Add --adopt, or omit it.", returncode=NOT_DONE)
        if options["check"] and options["adopt"]:
            raise CommandError(
                "--check and --adopt exclude each other. Use --adopt --plan to see what --adopt would do.", returncode=NOT_DONE
            )
        require_current_names(connection)
        if options["check"]:
            self._check(compare(), as_json=options["json"])
        elif options["adopt"]:
            self._adopt(options)
        elif options["plan"]:
            self._plan(compare(), as_json=options["json"])
        else:
            tidy_up_after_kill()
            self._initialize(options["wait"], as_json=options["json"])

    def _plan(self, planned: Plan, *, as_json: bool) -> None:
        if as_json:
            self._print_json(planned, changed=False)
            return
        self._print_plan(planned, plural(len(planned.differences), "differs", "differ") if planned.refused else "would be changed")
        if planned.refused:
            self.print_line(f"It would be refused. {describe_refusal(planned, planned.refused)}")
        self._print_interruption()
        self._print_restored(planned)

    def _check(self, found: Plan, *, as_json: bool) -> None:
        problems, due_at = [str(problem) for problem in trigger_problems()], comparison_due_at()
        if as_json:
            self._print_json(found, changed=False, more={"triggers": problems, "comparison_due_at": due_at})
        elif found.differences:
            self._print_plan(found, plural(len(found.differences), "differs", "differ"))
        else:
            self.print_line(f"{_name(found)} is as defined.{_not_compared(found)}")
        if not as_json:
            self._print_interruption()
            self._print_restored(found)
            self._print_capture(
                [*(f"Not as migrated: {problem}" for problem in problems), *([comparison_due_warning(due_at)] if due_at else [])]
            )
        if found.differences or found.restored or problems or due_at:
            self.exit_with_findings()

    def _initialize(self, wait: float, *, as_json: bool) -> None:
        with progress("Building graphs") as report:
            done = initialize(green_seconds=wait, on_plan=self._on_plan(as_json=as_json), report=report)
        if as_json:
            self._print_json(done.planned, changed=bool(done.planned.differences), status=done.status, more={"queued": done.queued})
        elif done.planned.differences:
            self.print_line("Done. The result was read back and compared.")
        if done.queued and not as_json:
            self.print_line(
                f"{counted(done.queued, 'user is', 'users are')} queued and searchable after the next sync. If no sync_qdrant --watch runs,"
                " run manage.py sync_qdrant --once."
            )
        if not as_json:
            self._print_restored(done.planned)
        self._print_if_not_green(done.planned.collection, done.status, wait)
        if done.planned.restored:
            self.exit_with_findings()

    def _adopt(self, options: dict[str, Any]) -> None:
        try:
            steps = self.printed_steps("findme.vectorstore", as_json=options["json"])
            with progress("Comparing points") as report, steps, interrupted_by_sigterm():
                done = adopt(
                    Options(
                        max_changes=options["max_changes"],
                        force=options["force"],
                        discard_vectors=options["discard_vectors"] or 0,
                        after_restore=options["after_restore"],
                        retain=options["retain"],
                        folder=options["temporary_folder"],
                        nodes=options["node"],
                    ),
                    dry_run=options["plan"],
                    green_seconds=options["wait"],
                    on_plan=self._on_plan(as_json=options["json"]),
                    report=report,
                )
        except PossiblyErased as error:
            if options["json"]:
                self.print_json({"possibly_erased": error.ids})
            for user_id in [] if options["json"] else error.ids:
                self.print_line(str(user_id))
            raise
        if options["json"]:
            changed = done.status is not None and bool(done.planned.differences)
            self._print_json(done.planned, changed=changed, status=done.status, more=adoption_json(done))
        elif done.status is None:
            self._print_plan(done.planned, "would be changed")
            self._print_interruption()
            self.print_line(
                f"Of {counted(done.survey.points, 'point')}, {counted(done.survey.orphans, 'has', 'have')} no user in PostgreSQL and would be removed."
            )
            for line in adoption_plan(done, options["discard_vectors"] or 0):
                self.print_line(line)
            if done.remaining is not None:
                self.print_line(done.remaining)
        else:
            self._print_adopted(done)
        if done.status is not None:
            if done.remaining is not None or done.arrived_later:
                self.exit_with_findings()
            self._print_if_not_green(done.planned.collection, done.status, options["wait"])

    def _print_adopted(self, done: Adopted) -> None:
        if done.replaced is not None:
            self.print_line(
                f"{done.replaced.collection} was built with {counted(done.replaced.points, 'point')}, and the alias {done.planned.alias} points to it."
                f" Searches failed for {done.replaced.gap_seconds * 1000:,.0f} ms."
            )
            if done.replaced.copy is not None and done.replaced.retained_until is not None:
                self.print_line(f"{done.replaced.copy} is retained until {done.replaced.retained_until:%Y-%m-%d %H:%M:%S} UTC.")
        elif done.planned.is_to_be_adopted:
            self.print_line(
                f"{done.planned.collection} belongs to this database now: {counted(done.removed, 'point without a user was', 'points without a user were')}"
                " removed, and all users are queued for manage.py sync_qdrant."
            )
        if done.arrived_later:
            self.print_line(
                f"{points_hold(done.arrived_later)} a vector that another program wrote during the run and PostgreSQL does not have: not deleted."
            )
        if done.remaining is not None:
            self.print_line(done.remaining)
        elif done.planned.differences:
            self.print_line("Done. The result was read back and compared.")

    def _print_if_not_green(self, collection: str, status: str, wait: float) -> None:
        if status != "green":
            self.stderr.write(f"{collection} is still {status} after {wait:g} s. Qdrant continues in the background.")
            self.exit_with_findings()

    def _on_plan(self, *, as_json: bool) -> OnPlan:
        return ignore_progress if as_json else lambda planned: self._print_plan(planned, "to change")

    def _print_plan(self, planned: Plan, how: str) -> None:
        if not planned.differences:
            self.print_line(f"{_name(planned)}: nothing to do.{_not_compared(planned)}")
            return
        self.print_line(f"{_name(planned)}: {len(planned.differences)} {how}.{_not_compared(planned)}")
        for difference in planned.differences:
            self.print_line(f"  {difference}")

    def _print_interruption(self) -> None:
        if line := interruption():
            self.print_line(line)

    def _print_restored(self, planned: Plan) -> None:
        if planned.restored:
            self.print_line(planned.restored)

    def _print_capture(self, problems: list[str]) -> None:
        for problem in problems:
            self.print_line(problem)
        if problems:
            self.print_line("To repair this: manage.py verify_qdrant --repair")

    def _print_json(self, planned: Plan, *, changed: bool, status: str | None = None, more: dict[str, Any] | None = None) -> None:
        document: dict[str, Any] = {
            "alias": planned.alias,
            "collection": planned.collection,
            "embedded": planned.embedded,
            "differences": len(planned.differences),
            "refused": describe_refusal(planned, planned.refused) if planned.refused else None,
            "restored": planned.restored,
            "changed": changed,
            "status": status,
            "comparisons": planned.comparisons,
        }
        self.print_json(document | (more or {}))


def _name(planned: Plan) -> str:
    return f"{planned.alias} ({planned.collection})"


def _not_compared(planned: Plan) -> str:
    if not any(one.state is State.NOT_APPLICABLE for one in planned.comparisons):
        return ""
    return f" Embedded in {settings.QDRANT_PATH!r}, without graphs, thresholds and payload indexes. For those, set QDRANT_URL to a server."
