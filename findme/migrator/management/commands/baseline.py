from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from django.core.management.base import CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

from findme.core.commands.base import FindmeCommand
from findme.core.commands.explanations import explain_error
from findme.core.commands.progress import Report as ReportProgress
from findme.core.commands.progress import progress
from findme.core.commands.prompts import confirm
from findme.core.commands.signals import interrupted_by_sigterm
from findme.core.db.session import without_time_limits
from findme.core.plurals import counted
from findme.migrator.baseline.convert import convert, planned_steps
from findme.migrator.baseline.fixes import (
    Fix,
    Fixable,
    apply_fixes,
    by_table,
    choose_fixes,
    count_fixable,
    fired_triggers,
    require_remedies,
)
from findme.migrator.baseline.inspection import Inspection, Report, inspect, require_trigger_rules
from findme.migrator.executor import Run
from findme.migrator.lock import require_own_session
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
        self.report = Report()
        self.connection = connections[DEFAULT_DB_ALIAS]
        self.timeouts = migration_timeouts(options)
        with interrupted_by_sigterm(), self._report_printed():
            require_own_session(self.connection)
            with without_time_limits(self.connection):
                if plan:
                    self._plan(fix)
                elif fix:
                    self._fix(fix, no_input=no_input)
                else:
                    self._convert(no_input=no_input)

    @contextmanager
    def _report_printed(self) -> Iterator[None]:
        """With ``--json``, print the report at the end of the block, also if the command ends with exit code 2 or is interrupted."""
        try:
            yield
        except KeyboardInterrupt:
            self._print_json(f"Interrupted. {self.after_interrupt}")
            raise
        except Exception as error:
            # A defect has no line. Its traceback is on stderr.
            if line := explain_error(error):
                self._print_json(line)
            raise
        except SystemExit:  # with findings
            self._print_json(None)
            raise
        self._print_json(None)

    def _print_json(self, reason: str | None) -> None:
        if self.json:
            self.print_json(replace(self.report, reason=reason))

    def _inspect(self, names: Sequence[str] = ()) -> tuple[Inspection, list[Fix]]:
        """Read the tables, and choose the fixes for the rules ``names``: none if the tables are adopted or differ."""
        with progress("Reading the tables") as report:
            found = inspect(self.connection, report)
        self.report = found.report()
        if found.recognized.is_adopted or found.recognized.differences:
            require_remedies(names)
            return found, []
        return found, choose_fixes(names, found.rules, found.remedies)

    def _plan(self, names: list[str]) -> None:
        found, fixes = self._inspect(names)
        known = found.recognized
        if not (known.differences or known.is_adopted):
            steps = planned_steps(self.connection, known.schema, known.target)
            self.report = found.report(steps=tuple(step.description for step in steps))
        self._print()
        for step in self.report.steps:
            self._line(f"would do: {step}")
        self._count_fixable("would", fixes)
        found.require_no_difference()
        if self.report.broken:
            self.exit_with_findings()

    def _fix(self, names: list[str], *, no_input: bool) -> None:
        found, fixes = self._inspect(names)
        if self._is_adopted(found):
            return
        if found.recognized.differences:
            self._print()
        found.require_no_difference()
        counts = self._count_fixable("to", fixes)
        for table, triggers in fired_triggers(fixes, found.recognized.tables):
            if triggers:
                self._line(f"Each UPDATE of {table} fires: {', '.join(triggers)}. A trigger for updated_at sets it to the current time.")
        total = sum(one.rows for one in counts.values())
        if total:
            if not no_input:
                confirm(f"Change {counted(total, 'row')}? [y/N] ", "nothing was changed", self._prompt)
            self._apply(fixes, counts)
        fixed = self.report.fixed
        found, _ = self._inspect()
        self.report = replace(self.report, fixed=fixed)
        self._print_broken()
        if {rule.name for rule in self.report.broken} & set(names):
            self.exit_with_findings()

    def _count_fixable(self, verb: str, fixes: list[Fix]) -> dict[str, Fixable]:
        """Count the rows of each table that the fixes would change, and print the number of each rule."""
        counts = {table: count_fixable(self.connection, own) for table, own in by_table(fixes).items()}
        for one in fixes:
            number = counts[one.rule.table].by_rule[one.rule.name]
            self._line(f"{verb} fix {one.rule.name}: {counted(number, 'row')}. {one.remedy.description}.")
        return counts

    def _apply(self, fixes: list[Fix], counts: dict[str, Fixable]) -> None:
        with self._running() as run:
            for table, own in by_table(fixes).items():
                with progress(f"Fixing rows of {table}") as report:
                    done = apply_fixes(run, self.connection, own, partial(self._note_batch, report, counts[table].rows))
                for name, number in done.items():
                    self._line(f"fixed {name}: {counted(number, 'row')}")

    def _note_batch(self, report: ReportProgress, total: int, changed: Fixable) -> None:
        self.report = replace(self.report, fixed=self.report.fixed | changed.by_rule)
        report(changed.rows, total)

    def _convert(self, *, no_input: bool) -> None:
        if not no_input:
            found, _ = self._inspect()
            if self._is_adopted(found) or not self._may_begin(found):
                return
            rows = ", ".join(f"{table} ({counted(number, 'row')})" for table, number in found.counted.rows.items())
            confirm(f"Adopt {rows}? [y/N] ", "nothing was changed", self._prompt)
        with self._running() as run:
            found, _ = self._inspect()  # another process may have changed the tables since the question
            if self._is_adopted(found) or not self._may_begin(found):
                return
            known = found.recognized
            recheck = partial(require_trigger_rules, self.connection, found)
            run.on_done = self._note_migration
            convert(run, self.connection, known.schema, known.target, on_step=self._on_step, on_done=self._note_step, recheck=recheck)
        self.report = replace(self.report, adopted=True)
        self._line(f"Done. {counted(len(self.report.migrations), 'migration')} recorded or applied.")

    def _note_step(self, description: str) -> None:
        self.report = replace(self.report, steps=(*self.report.steps, description))

    def _note_migration(self, name: str) -> None:
        self.report = replace(self.report, migrations=(*self.report.migrations, name))

    def _is_adopted(self, found: Inspection) -> bool:
        """Return whether there is nothing to do, and say so."""
        if found.recognized.is_adopted:
            self._print()
        return found.recognized.is_adopted

    def _may_begin(self, found: Inspection) -> bool:
        if self.report.differences or self.report.broken:
            self._print()
        found.require_no_difference()
        found.require_no_broken_rule()
        return True

    def _running(self) -> AbstractContextManager[Run]:
        return running("baseline", using=DEFAULT_DB_ALIAS, timeouts=self.timeouts, on_warning=self._on_stderr)

    def _print(self) -> None:
        report = self.report
        if report.adopted:
            self._line(f"Nothing to do: the schema {report.schema} is FindMe's. Run manage.py migrate for later migrations.")
            return
        version = "" if report.version is None else f", version {report.version} of golang-migrate"
        self._line(f"schema {report.schema}{version}")
        for table, number in report.tables.items():
            self._line(f"table {table}: {counted(number, 'row')}")
        for one in report.differences:
            self._line(f"differs: {one}")
        self._print_broken()
        for name in report.kept:
            self._line(f"kept: {name}")

    def _print_broken(self) -> None:
        for one in self.report.broken:
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

    def _prompt(self, text: str) -> None:
        self.stderr.write(text, str, "")

    def _on_stderr(self, line: str) -> None:
        self.stderr.write(line, str)
