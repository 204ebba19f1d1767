"""Count the rows that break the rules. Other sessions read and write the tables meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from findme.core.commands.progress import Report, ignore_progress
from findme.migrator.baseline.rules import Rule

NAMED = 5
"""Maximum number of ids of a broken rule."""


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """``count`` rows break the rule ``name``. ``ids`` are at most five of them, and ``query`` finds all. ``remedy`` is what ``--fix`` would do."""

    name: str
    table: str
    count: int
    ids: tuple[str, ...]
    query: str
    sentence: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """The number of rows by table, and the rules that rows break."""

    rows: dict[str, int]
    broken: tuple[BrokenRule, ...]


def count_rows(
    connection: BaseDatabaseWrapper,
    tables: Collection[str],
    rules: Sequence[Rule],
    remedies: Mapping[str, str] | None = None,
    on_progress: Report = ignore_progress,
) -> Counted:
    """Count all rows and those that break each rule. Report the number of tables that are done.

    Every statement is a transaction of its own. One scan of a table counts all rules about single rows.
    """
    rows: dict[str, int] = {}
    broken: list[BrokenRule] = []
    with connection.cursor() as cursor:
        for number, table in enumerate(tables):
            on_progress(number, len(tables))
            own = [rule for rule in rules if rule.table == table]
            rows[table], counts = _scan(cursor, table, [rule for rule in own if rule.is_of_one_row])
            counts |= {rule: _count(cursor, rule) for rule in own if not rule.is_of_one_row}
            for rule in own:
                if counts[rule]:
                    remedy = (remedies or {}).get(rule.name)
                    broken.append(BrokenRule(rule.name, table, counts[rule], _ids(cursor, rule), rule.query, rule.sentence, remedy))
    return Counted(rows, tuple(broken))


def _scan(cursor: CursorWrapper, table: str, rules: Sequence[Rule]) -> tuple[int, dict[Rule, int]]:
    counts = "".join(f", count(*) FILTER (WHERE {rule.condition})" for rule in rules)
    cursor.execute(f"SELECT count(*){counts} FROM {table}")  # noqa: S608  # from the catalog
    total, *broken = cursor.fetchone()
    return int(total), dict(zip(rules, broken, strict=True))


def _count(cursor: CursorWrapper, rule: Rule) -> int:
    cursor.execute(f"SELECT count(*) FROM {rule.table} WHERE {rule.condition}")  # noqa: S608  # from the catalog
    return int(cursor.fetchone()[0])


def _ids(cursor: CursorWrapper, rule: Rule) -> tuple[str, ...]:
    # OFFSET 0 makes PostgreSQL search first. It would read the whole table in the order of its key.
    cursor.execute(
        f"SELECT id FROM (SELECT id FROM {rule.table} WHERE {rule.condition} OFFSET 0) AS broken ORDER BY id LIMIT {NAMED}"  # noqa: S608  # from the catalog
    )
    return tuple(str(key) for (key,) in cursor.fetchall())
