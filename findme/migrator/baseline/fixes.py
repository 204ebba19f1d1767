"""Correct rows that break a rule, where there is one obvious remedy: in batches, next to the services that write the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.apps import apps
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.db.session import session_settings
from findme.core.errors import UserFacingError, without_detail
from findme.migrator.attempts import repeat_while_locked
from findme.migrator.baseline.catalog import Table
from findme.migrator.baseline.remedies import Remedy
from findme.migrator.baseline.rules import Rule
from findme.migrator.diagnostics import oldest_transaction
from findme.migrator.executor import Run

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
    for config in apps.get_app_configs():
        for remedy in getattr(config, "remedies", ()):
            if tables.keys() >= set(remedy.tables):
                found.setdefault(remedy.rule, remedy)
    return found


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


def fired_triggers(fixes: Sequence[Fix], tables: Mapping[str, Table]) -> Iterator[tuple[str, list[str]]]:
    """Yield each table that the fixes change, with the triggers that an UPDATE of it fires."""
    for name in dict.fromkeys(fix.rule.table for fix in fixes):
        triggers = tables[name].triggers.values()
        yield name, [one.name for one in triggers if one.enabled in ("O", "A") and "UPDATE" in one.definition.partition(" FOR EACH ")[0]]


def count_fixable(connection: BaseDatabaseWrapper, fix: Fix) -> int:
    """Return how many rows the fix would change now."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {fix.rule.table} WHERE {fix.condition}")  # noqa: S608  # from the catalog and an app
        return int(cursor.fetchone()[0])


def apply_fix(run: Run, connection: BaseDatabaseWrapper, fix: Fix, on_rows: Callable[[int], object] = int) -> int:
    """Change the rows in batches, and return their number. Call ``on_rows`` with the number so far after each batch.

    A batch is one transaction. It waits for a locked row as long as a migration waits for a table, and is tried again. A process that was
    killed has changed whole batches, and the next run changes the rest. Raises UserFacingError.
    """
    changed, last = 0, None
    while True:
        keys, count = _batch_while_locked(run, connection, fix, last)
        changed += count
        on_rows(changed)
        if len(keys) < BATCH:
            return changed
        last = keys[-1]


def _batch_while_locked(run: Run, connection: BaseDatabaseWrapper, fix: Fix, last: UUID | None) -> tuple[list[UUID], int]:
    return repeat_while_locked(
        partial(_batch, run, connection, fix, last),
        subject=fix.rule.name,
        lock=run.lock,
        timeouts=run.timeouts,
        on_warning=run.on_warning,
        failure=lambda error, _: UserFacingError(
            f"{fix.rule.name}: {without_detail(error)}{oldest_transaction(run.lock.connection)}. Earlier batches stay. Run it again."
        ),
    )


def _batch(run: Run, connection: BaseDatabaseWrapper, fix: Fix, last: UUID | None) -> tuple[list[UUID], int]:
    """Change the next rows after the id ``last``, or the first ones. Return their ids, and how many still broke the rule."""
    table, condition = fix.rule.table, fix.condition.replace("%", "%%")
    run.lock.check()
    with (
        session_settings(connection, lock_timeout=run.timeouts.lock_timeout),
        transaction.atomic(using=connection.alias),
        connection.cursor() as cursor,
    ):
        next_rows = f"(%s::uuid IS NULL OR id > %s) AND ({condition}) ORDER BY id LIMIT {BATCH}"
        cursor.execute(f"SELECT id FROM {table} WHERE {next_rows}", [last, last])  # noqa: S608  # as above
        keys = [key for (key,) in cursor.fetchall()]
        # A service may have corrected a row meanwhile.
        cursor.execute(f"UPDATE {table} SET {fix.remedy.change} WHERE id = ANY(%s) AND ({condition})", [keys])  # noqa: S608  # as above
        return keys, cursor.rowcount
