"""Correct rows that break a rule, where there is one obvious remedy: in batches, next to the services that write the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.apps import apps
from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.db.session import session_settings
from findme.core.errors import UserFacingError, without_detail
from findme.migrator.attempts import repeat_while_locked
from findme.migrator.baseline.catalog import Table
from findme.migrator.baseline.execution import broken_rule
from findme.migrator.baseline.remedies import Remedy
from findme.migrator.baseline.rules import Rule
from findme.migrator.diagnostics import oldest_transaction
from findme.migrator.executor import Run
from findme.migrator.table_locks import wait_less_than_a_deadlock

BATCH = 5_000
"""Rows of a transaction."""


@dataclass(frozen=True, slots=True)
class Fix:
    """A remedy for a rule. ``condition`` is true for each row that it changes."""

    rule: Rule
    remedy: Remedy

    @property
    def condition(self) -> str:
        return self.remedy.rows or self.rule.condition


def remedies_of(tables: Mapping[str, Table]) -> dict[str, Remedy]:
    """Return the remedies of the installed apps that can be used with ``tables``, by rule."""
    found: dict[str, Remedy] = {}
    for remedy in _all_remedies():
        if tables.keys() >= set(remedy.tables):
            found.setdefault(remedy.rule, remedy)
    return found


def _all_remedies() -> Iterator[Remedy]:
    for config in apps.get_app_configs():
        yield from getattr(config, "remedies", ())


def require_remedies(names: Sequence[str]) -> None:
    """Raise UserFacingError for a name that no remedy of the installed apps has. Reads no table."""
    known = {remedy.rule for remedy in _all_remedies()}
    for name in names:
        if name not in known:
            raise UserFacingError(
                f"{name!r} is not a rule with a remedy: nothing was changed. Rules with a remedy: {', '.join(sorted(known))}."
            )


def choose_fixes(names: Sequence[str], rules: Sequence[Rule], remedies: Mapping[str, Remedy]) -> list[Fix]:
    """Return the fixes for the rules ``names``. Raise UserFacingError for an unknown rule and for one without a remedy."""
    by_name = {rule.name: rule for rule in rules}
    for name in names:
        if name not in by_name:
            known = ", ".join(sorted(by_name.keys() & remedies.keys()))
            raise UserFacingError(f"{name!r} is not a rule of these tables: nothing was changed. Rules with a remedy: {known}.")
        if name not in remedies:
            raise UserFacingError(
                f"The rule {name} has no obvious remedy: nothing was changed. Correct the rows by hand. To find them: {by_name[name].query}"
            )
    return [Fix(by_name[name], remedies[name]) for name in dict.fromkeys(names)]


def by_table(fixes: Sequence[Fix]) -> dict[str, list[Fix]]:
    tables: dict[str, list[Fix]] = {}
    for fix in fixes:
        tables.setdefault(fix.rule.table, []).append(fix)
    return tables


def fired_triggers(fixes: Sequence[Fix], tables: Mapping[str, Table]) -> Iterator[tuple[str, list[str]]]:
    """Yield each table that the fixes change, with the triggers that an UPDATE of it fires."""
    for name in by_table(fixes):
        triggers = tables[name].triggers.values()
        yield name, [one.name for one in triggers if one.enabled in ("O", "A") and "UPDATE" in one.definition.partition(" FOR EACH ")[0]]


@dataclass(frozen=True, slots=True)
class Fixable:
    """``rows`` is the number of rows of a table that break at least one of the rules, and ``by_rule`` has that of each rule."""

    rows: int
    by_rule: dict[str, int]


def count_fixable(connection: BaseDatabaseWrapper, fixes: Sequence[Fix]) -> Fixable:
    """Return how many rows of one table the fixes would change now."""
    counts = "".join(f", count(*) FILTER (WHERE {fix.condition})" for fix in fixes)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*){counts} FROM {fixes[0].rule.table} WHERE {_any_of(fixes)}")  # noqa: S608  # from the catalog and an app
        rows, *broken = cursor.fetchone()
    return Fixable(rows, dict(zip((fix.rule.name for fix in fixes), broken, strict=True)))


def apply_fixes(
    run: Run, connection: BaseDatabaseWrapper, fixes: Sequence[Fix], on_batch: Callable[[Fixable], object] = lambda _: None
) -> dict[str, int]:
    """Change the rows of one table in batches, and return their number by rule. Call ``on_batch`` with the numbers so far after each batch.

    A row that breaks several of the rules is changed once: a NOT VALID constraint already refuses a row that keeps only some of them.
    A batch is one transaction. It waits for a locked row so shortly that no service fails with a deadlock, and is tried again. A process that was
    killed has changed whole batches, and the next run changes the rest. Raises UserFacingError.
    """
    last = None
    changed = Fixable(0, dict.fromkeys((fix.rule.name for fix in fixes), 0))
    while True:
        batch = _batch_while_locked(run, connection, fixes, last)
        by_rule = {name: count + batch.by_rule[name] for name, count in changed.by_rule.items()}
        changed = Fixable(changed.rows + len(batch.keys), by_rule)
        on_batch(changed)
        if len(batch.keys) < BATCH:
            return by_rule
        last = batch.keys[-1]


@dataclass(frozen=True, slots=True)
class _Batch:
    """The ids of the changed rows, and their number by rule."""

    keys: list[UUID]
    by_rule: dict[str, int]


def _batch_while_locked(run: Run, connection: BaseDatabaseWrapper, fixes: Sequence[Fix], last: UUID | None) -> _Batch:
    return repeat_while_locked(
        partial(_batch, run, connection, fixes, last),
        subject=_subject(fixes),
        lock=run.lock,
        timeouts=run.timeouts,
        on_warning=run.on_warning,
        failure=lambda error, _: _failure(run, fixes, error),
    )


def _subject(fixes: Sequence[Fix]) -> str:
    return ", ".join(fix.rule.name for fix in fixes)


def _failure(run: Run, fixes: Sequence[Fix], error: Error) -> UserFacingError:
    table, subject = fixes[0].rule.table, _subject(fixes)
    if rule := broken_rule(error, table):
        return UserFacingError(
            f"{subject}: rows of {table} also break {rule}, which new rows must keep. Earlier batches stay."
            f" Add {rule} to --fix, or correct them by hand: see manage.py baseline --plan."
        )
    return UserFacingError(
        f"{subject}: {without_detail(error)}{oldest_transaction(run.lock.connection)}. Earlier batches stay. Run it again."
    )


def _batch(run: Run, connection: BaseDatabaseWrapper, fixes: Sequence[Fix], last: UUID | None) -> _Batch:
    """Change the next rows after the id ``last``, or the first ones."""
    table, condition = fixes[0].rule.table, _any_of(fixes).replace("%", "%%")
    broken = "".join(f", ({fix.condition}) IS TRUE" for fix in fixes).replace("%", "%%")
    run.lock.check()
    with (
        session_settings(connection, lock_timeout=run.timeouts.lock_timeout),
        transaction.atomic(using=connection.alias),
        connection.cursor() as cursor,
    ):
        # A service may hold a row of this batch and then need another one.
        wait_less_than_a_deadlock(cursor)
        # PostgreSQL checks the condition again for a row that a service changes meanwhile. From here on the rows are locked.
        next_rows = f"(%s::uuid IS NULL OR id > %s) AND ({condition}) ORDER BY id LIMIT {BATCH} FOR NO KEY UPDATE"
        cursor.execute(f"SELECT id{broken} FROM {table} WHERE {next_rows}", [last, last])  # noqa: S608  # as above
        found = cursor.fetchall()
        keys = [key for key, *_ in found]
        cursor.execute(f"UPDATE {table} SET {_changes(fixes)} WHERE id = ANY(%s)", [keys])  # noqa: S608  # as above
    by_rule = {fix.rule.name: sum(row[number] for row in found) for number, fix in enumerate(fixes, start=1)}
    return _Batch(keys, by_rule)


def _any_of(fixes: Sequence[Fix]) -> str:
    return " OR ".join(f"({fix.condition})" for fix in fixes)


def _changes(fixes: Sequence[Fix]) -> str:
    """Return the SET clause: a row keeps its value for each rule that it does not break."""
    columns: dict[str, list[str]] = {}
    for fix in fixes:
        columns.setdefault(fix.remedy.column, []).append(f"WHEN {fix.condition} THEN {fix.remedy.value}")
    return ", ".join(f"{column} = CASE {' '.join(cases)} ELSE {column} END" for column, cases in columns.items()).replace("%", "%%")
