"""What ``baseline --plan`` reports: the tables, what differs, which rows break rules, and what the conversion would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.commands.progress import Report as ReportProgress
from findme.core.commands.progress import ignore_progress
from findme.core.errors import UserFacingError
from findme.core.plurals import counted, plural
from findme.migrator.baseline.counting import BrokenRule, Counted, count_rows
from findme.migrator.baseline.fixes import remedies_of
from findme.migrator.baseline.recognize import recognize
from findme.migrator.baseline.recognized import Difference, Recognized
from findme.migrator.baseline.remedies import Remedy
from findme.migrator.baseline.rules import Kind, Rule, rules_of


@dataclass(frozen=True, slots=True)
class Report:
    """The result of the command. ``tables`` are the numbers of rows. ``fixed`` are the numbers of changed rows by rule."""

    schema: str | None = None
    version: int | None = None
    adopted: bool = False
    tables: dict[str, int] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    broken: tuple[BrokenRule, ...] = ()
    kept: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    """What was done, or with ``--plan`` what would be done."""
    fixed: dict[str, int] = field(default_factory=dict)
    migrations: tuple[str, ...] = ()
    """The migrations that were recorded or applied."""
    reason: str | None = None
    """Why the command has not done its work: the line on stderr."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """``rules`` and ``counted`` are empty if the tables differ from the guide's: then no row was read."""

    recognized: Recognized
    rules: tuple[Rule, ...] = ()
    remedies: dict[str, Remedy] = field(default_factory=dict)
    counted: Counted = field(default_factory=lambda: Counted({}, ()))

    def report(self, *, steps: tuple[str, ...] = (), fixed: dict[str, int] | None = None) -> Report:
        known, rows = self.recognized, self.counted
        return Report(
            known.schema, known.version, known.is_adopted, rows.rows, known.differences, rows.broken, known.kept, steps, fixed or {}
        )

    def require_no_difference(self) -> None:
        if number := len(self.recognized.differences):
            raise UserFacingError(
                f"{counted(number, 'object')} {plural(number, 'differs', 'differ')} from the guide: nothing was changed."
                " Type the statements that were shown, then run manage.py baseline --plan again."
            )

    def require_no_broken_rule(self) -> None:
        if broken := self.counted.broken:
            raise broken_rules(broken, "nothing was changed")


def broken_rules(broken: Sequence[BrokenRule], state: str) -> UserFacingError:
    rules = f"Rows break {counted(len(broken), 'rule')} ({', '.join(one.name for one in broken[:3])}{', ...' if len(broken) > 3 else ''})"
    return UserFacingError(f"{rules}: {state}. See manage.py baseline --plan, and correct them by hand or with --fix RULE.")


def inspect(connection: BaseDatabaseWrapper, on_progress: ReportProgress = ignore_progress) -> Inspection:
    """Recognize the tables and count the rows that break rules. Changes nothing. Raises UserFacingError as ``recognize`` does."""
    found = recognize(connection)
    if found.is_adopted or found.differences:
        return Inspection(found)
    rules, remedies = rules_of(found.tables, found.target), remedies_of(found.tables)
    descriptions = {name: remedy.description for name, remedy in remedies.items()}
    return Inspection(found, tuple(rules), remedies, count_rows(connection, found.tables, rules, descriptions, on_progress))


def require_trigger_rules(connection: BaseDatabaseWrapper, found: Inspection) -> None:
    """Raise UserFacingError if rows break a rule that a trigger enforces: they were written before the trigger existed."""
    rules = [rule for rule in found.rules if rule.kind is Kind.TRIGGER]
    counted_rows = count_rows(connection, {rule.table for rule in rules}, rules)
    if counted_rows.broken:
        raise broken_rules(counted_rows.broken, "the earlier steps stay")
