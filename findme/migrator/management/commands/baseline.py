from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from django.core.management.base import CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import Report as ReportProgress
from findme.core.commands.progress import progress
from findme.core.commands.prompts import confirm
from findme.core.commands.signals import interrupted_by_sigterm
from findme.core.db.session import without_time_limits
from findme.core.plurals import counted
from findme.migrator.baseline.convert import convert, planned_steps
from findme.migrator.baseline.fixes import Fix, Fixable, apply_fixes, by_table, choose_fixes, count_fixable, fired_triggers
from findme.migrator.baseline.inspection import Inspection, Report, inspect, require_trigger_rules
from findme.migrator.executor import Run
from findme.migrator.migrate import running
from findme.migrator.options import add_waiting_arguments, migration_timeouts


class Command(FindmeCommand):
    help = "Adopt a database that has the tables of the migration guide, while services use it."
    after_interrupt = "The steps that are done stay: run it again, and it continues where it stopped."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--plan", action="store_true", help="Show what differs, what breaks rules and what would be done; change nothing."
        )
        parser.add_argument(
            "--fix",
            action="extend",
            nargs="+",
            metavar="RULE",
            default=[],
            help="Correct the rows that break these rules, and do nothing else.",
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")
        parser.add_argument("--no-input", "--noinput", action="store_true", help="Do not ask.")
        add_waiting_arguments(parser)

    def handle(self, *args: Any, plan: bool, fix: list[str], json: bool, no_input: bool, **options: Any) -> None:
        self.json = json
        self.connection = connections[DEFAULT_DB_ALIAS]
        self.timeouts = migration_timeouts(options)
        with interrupted_by_sigterm(), without_time_limits(self.connection):
            if plan:
                self._plan(fix)
            elif fix:
                self._fix(fix, no_input=no_input)
            else:
                self._convert(no_input=no_input)

    def _inspect(self) -> Inspection:
        with progress("Reading the tables") as report:
            return inspect(self.connection, report)

    def _plan(self, names: list[str]) -> None:
        found = self._inspect()
        known = found.recognized
        is_clear = not (known.differences or known.is_adopted)
        steps = planned_steps(self.connection, known.schema, known.target) if is_clear else ()
        report = found.report(steps=tuple(step.description for step in steps))
        self._print(report)
        for step in report.steps:
            self._line(f"would do: {step}")
        if is_clear:
            self._count_fixable("would", choose_fixes(names, found.rules, found.remedies))
        self._end_with(report)
        found.require_no_difference()
        if report.broken:
            self.exit_with_findings()

    def _fix(self, names: list[str], *, no_input: bool) -> None:
        found = self._inspect()
        if self._is_adopted(found):
            return
        if found.recognized.differences:
            self._print(found.report())
        found.require_no_difference()
        fixes = choose_fixes(names, found.rules, found.remedies)
        counts = self._count_fixable("to", fixes)
        for table, triggers in fired_triggers(fixes, found.recognized.tables):
            if triggers:
                self._line(f"Each UPDATE of {table} fires: {', '.join(triggers)}. A trigger for updated_at sets it to the current time.")
        total = sum(one.rows for one in counts.values())
        if total and not no_input:
            confirm(f"Change {counted(total, 'row')}? [y/N] ", "nothing was changed", self._prompt)
        fixed = self._apply(fixes, counts) if total else {}
        after = self._inspect().report(fixed=fixed)
        self._print_broken(after)
        self._end_with(after)
        if {rule.name for rule in after.broken} & set(names):
            self.exit_with_findings()

    def _count_fixable(self, verb: str, fixes: list[Fix]) -> dict[str, Fixable]:
        """Count the rows of each table that the fixes would change, and print the number of each rule."""
        counts = {table: count_fixable(self.connection, own) for table, own in by_table(fixes).items()}
        for one in fixes:
            number = counts[one.rule.table].by_rule[one.rule.name]
            self._line(f"{verb} fix {one.rule.name}: {counted(number, 'row')}. {one.remedy.description}.")
        return counts

    def _apply(self, fixes: list[Fix], counts: dict[str, Fixable]) -> dict[str, int]:
        fixed: dict[str, int] = {}
        with self._running() as run:
            for table, own in by_table(fixes).items():
                with progress(f"Fixing rows of {table}") as report:
                    done = apply_fixes(run, self.connection, own, partial(_report_to, report, counts[table].rows))
                for name, number in done.items():
                    self._line(f"fixed {name}: {counted(number, 'row')}")
                fixed |= done
        return fixed

    def _convert(self, *, no_input: bool) -> None:
        if not no_input:
            found = self._inspect()
            if self._is_adopted(found) or not self._may_begin(found):
                return
            rows = ", ".join(f"{table} ({counted(number, 'row')})" for table, number in found.counted.rows.items())
            confirm(f"Adopt {rows}? [y/N] ", "nothing was changed", self._prompt)
        with self._running() as run:
            found = self._inspect()  # another process may have changed the tables since the question
            if self._is_adopted(found) or not self._may_begin(found):
                return
            known = found.recognized
            recheck = partial(require_trigger_rules, self.connection, found)
            done = convert(run, self.connection, known.schema, known.target, on_step=self._on_step, recheck=recheck)
        self._end_with(replace(found.report(steps=done.steps), migrations=done.migrations, adopted=True))
        self._line(f"Done. {counted(len(done.migrations), 'migration')} recorded or applied.")

    def _is_adopted(self, found: Inspection) -> bool:
        """Return whether there is nothing to do, and say so."""
        if found.recognized.is_adopted:
            report = found.report()
            self._print(report)
            self._end_with(report)
        return found.recognized.is_adopted

    def _may_begin(self, found: Inspection) -> bool:
        report = found.report()
        if report.differences or report.broken:
            self._print(report)
            self._end_with(report)
        found.require_no_difference()
        found.require_no_broken_rule()
        return True

    def _running(self) -> AbstractContextManager[Run]:
        return running("baseline", using=DEFAULT_DB_ALIAS, timeouts=self.timeouts, on_warning=self._on_stderr)

    def _print(self, report: Report) -> None:
        if report.adopted:
            self._line(f"Nothing to do: the schema {report.schema} is FindMe's. Run manage.py migrate for later migrations.")
            return
        version = "" if report.version is None else f", version {report.version} of golang-migrate"
        self._line(f"schema {report.schema}{version}")
        for table, number in report.tables.items():
            self._line(f"table {table}: {counted(number, 'row')}")
        for one in report.differences:
            self._line(f"differs: {one}")
        self._print_broken(report)
        for name in report.kept:
            self._line(f"kept: {name}")

    def _print_broken(self, report: Report) -> None:
        for one in report.broken:
            more = ", ..." if one.count > len(one.ids) else ""
            self._line(f"broken: {one.name}: {counted(one.count, 'row')} ({', '.join(one.ids)}{more}). {one.sentence}")
            self._line(f"  to see the rows: {one.query}")
            self._line(
                f"  to correct them: {f'manage.py baseline --fix {one.name} ({one.remedy})' if one.remedy else 'by hand, there is no obvious remedy'}"
            )

    def _on_step(self, description: str) -> None:
        self._on_stderr(f"{description} ...")

    def _line(self, line: str) -> None:
        if not self.json:
            self.print_line(line)

    def _end_with(self, report: Report) -> None:
        if self.json:
            self.print_json(report)

    def _prompt(self, text: str) -> None:
        self.stderr.write(text, str, "")

    def _on_stderr(self, line: str) -> None:
        self.stderr.write(line, str)


def _report_to(report: ReportProgress, total: int, done: int) -> None:
    report(done, total)
