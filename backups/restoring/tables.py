# ruff: noqa: S608  # PostgreSQL's catalog and this package make the SQL, with quoted names
"""Bring back the rows of some tables that the live database lacks (``restore --tables``).

A row that exists is never changed. A row never comes back if it belongs to a user with an action in the erasure ledger that was not undone, if it
refers to a row that is gone, or if another row has one of its unique values.

Rows are copied in batches, each in one transaction. So a run that was killed can be repeated: the rows that it has brought back exist. While a batch is
compared with the ledger and inserted, no process records an entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import errors

from backups.restoring.staged_rows import Reason, Relations, StagedRows, array
from backups.restoring.table_rules import TableRules, require_same_columns, rules_of
from findme.core.commands.progress import Report, ignore_progress
from findme.core.db.expressions import IsAmong
from findme.core.db.session import without_time_limits
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from findme.core.postgresql.arrays import uuid_array
from findme.migrator.lock import require_own_session
from privacy.actions.locking import check_deferred_constraints, limit_waiting
from privacy.ledger.entry import Kind
from privacy.ledger.gate import compare_with_outside
from privacy.ledger.keys import SubjectKeys, subject_keys
from privacy.ledger.publication import publishing
from privacy.ledger.states import is_undoing, last_kinds
from privacy.models import ErasedUser, PendingAction

BATCH_SIZE = 2_000
"""Rows of one transaction. An erasure of one of their users waits for its end."""
ATTEMPTS = 5
"""How often a batch is tried while other transactions change the same rows."""


@dataclass(frozen=True, slots=True)
class TableResult:
    """What was done with the rows of one table of the backup.

    ``in_backup`` is the sum of ``present``, ``brought_back`` and ``left_out``. ``cleared`` of the rows that were brought back have lost a reference that
    a row can be without, because its target is gone.
    """

    table: str
    in_backup: int
    present: int
    brought_back: int
    left_out: dict[Reason, int] = field(default_factory=dict)
    cleared: int = 0

    def __str__(self) -> str:
        missing = self.in_backup - self.present
        reasons = "".join(f" Left out: {count:,} {reason}." for reason, count in self.left_out.items())
        cleared = f" {counted(self.cleared, 'reference')} to rows that are gone cleared." if self.cleared else ""
        return (
            f"{self.table}: {counted(missing, 'row')} of {self.in_backup:,} missing, {self.brought_back:,} brought back.{reasons}{cleared}"
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "in_backup": self.in_backup,
            "present": self.present,
            "brought_back": self.brought_back,
            "left_out": {reason.name.lower(): count for reason, count in self.left_out.items()},
            "cleared": self.cleared,
        }


def bring_back(
    scratch: BaseDatabaseWrapper,
    live: BaseDatabaseWrapper,
    tables: Sequence[str],
    *,
    dry_run: bool = False,
    report: Report = ignore_progress,
) -> list[TableResult]:
    """Copy the missing rows of ``tables`` from the restored database ``scratch`` to ``live``, Django's default connection.

    The triggers of the live tables run, so the sync gets what has changed. With ``dry_run`` nothing is changed, and the numbers are those of a run. Rows
    that another process inserts meanwhile win. A run that is ended has brought back some rows, and the next one brings back the others.

    Raise UserFacingError for tables that cannot be brought back, and if the database is behind the ledger outside. Raise StoreUnavailable.
    """
    require_own_session(live)
    compare_with_outside()
    with without_time_limits(scratch), without_time_limits(live):
        rules = rules_of(live, tables)
        require_same_columns(scratch, rules)
        with (
            _temporary(live, rules, "staged") as staged,
            _temporary(live, rules if dry_run else (), "planned") as planned,
        ):
            for one in planned.values():
                one.add_key()
            return _Run(scratch, live, staged, planned, subject_keys()).results(report)


@contextmanager
def _temporary(live: BaseDatabaseWrapper, rules: Sequence[TableRules], purpose: str) -> Iterator[dict[int, StagedRows]]:
    """Yield a temporary table for each table, by its oid."""
    made: dict[int, StagedRows] = {}
    try:
        for n, one in enumerate(rules):
            made[one.table.oid] = StagedRows(live, one, f"findme_{purpose}_{n}")
        yield made
    finally:
        # The session of a lost connection has dropped them.
        with suppress(InterfaceError, OperationalError):
            for table in made.values():
                table.drop()


class _Raced(Exception):
    """Another transaction has inserted one of the rows, or a row with one of their unique values."""


class _Run:
    """One run. ``planned`` has what a dry run has brought back so far, and is empty for a real run."""

    def __init__(
        self,
        scratch: BaseDatabaseWrapper,
        live: BaseDatabaseWrapper,
        staged: dict[int, StagedRows],
        planned: dict[int, StagedRows],
        keys: SubjectKeys,
    ) -> None:
        self.scratch, self.live, self.staged, self.planned, self.keys = scratch, live, staged, planned, keys
        self.dry_run = bool(planned)
        self.early: Counter[int] = Counter()
        """Rows that were brought back together with the rows that refer to them, by table."""

    def results(self, report: Report) -> list[TableResult]:
        tables = [one.rules for one in self.staged.values()]
        total, done, results = sum(self._count(one) for one in tables), 0, []
        for rules in tables:
            found: Counter[str] = Counter()
            reasons: Counter[Reason] = Counter()
            cleared = 0
            for keys in self._keys(rules):
                found["in_backup"] += len(keys)
                if missing := self._missing(rules, keys):
                    brought_back, left_out, without = self._bring_back(rules, missing)
                    found["brought_back"] += brought_back
                    reasons.update(left_out)
                    cleared += without
                done += len(keys)
                report(done, total)
            early = self.early[rules.table.oid]
            present = found["in_backup"] - found["brought_back"] - reasons.total() - early
            left_out = {reason: reasons[reason] for reason in Reason if reasons[reason]}
            name = rules.table.name if rules.table.is_visible else str(rules.table)
            results.append(TableResult(name, found["in_backup"], present, found["brought_back"] + early, left_out, cleared))
        return results

    def _count(self, rules: TableRules) -> int:
        with self.scratch.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {rules.table.quoted}")
            return int(cursor.fetchone()[0])

    def _keys(self, rules: TableRules) -> Iterator[list[str]]:
        """Yield the primary keys of the backup, as text, in batches."""
        after = "true"
        while True:
            with self.scratch.cursor() as cursor:
                cursor.execute(f"SELECT {rules.key}::text FROM {rules.table.quoted} WHERE {after} ORDER BY {rules.key} LIMIT {BATCH_SIZE}")
                keys = [key for (key,) in cursor.fetchall()]
            if not keys:
                return
            yield keys
            after = f"{rules.key} > ({array(keys[-1:], rules.key_type)})[1]"

    def _relations(self) -> dict[int, list[str]]:
        """Return where the rows of each table are now: the table itself, and in a dry run also what it has brought back."""
        oids = {oid: staged.rules.table.quoted for oid, staged in self.staged.items()}
        oids |= {ref.parent.oid: ref.parent.quoted for staged in self.staged.values() for ref in staged.rules.references}
        return {oid: [table, *([self.planned[oid].name] if oid in self.planned else [])] for oid, table in oids.items()}

    def _missing(self, rules: TableRules, keys: Sequence[str]) -> list[str]:
        absent = " AND ".join(
            f"NOT EXISTS (SELECT FROM {relation} AS p WHERE p.{rules.key} = k)" for relation in self._relations()[rules.table.oid]
        )
        with self.live.cursor() as cursor:
            cursor.execute(f"SELECT k::text FROM unnest({array(keys, rules.key_type)}) AS k WHERE {absent}")
            return [key for (key,) in cursor.fetchall()]

    def _bring_back(self, rules: TableRules, missing: Sequence[str]) -> tuple[int, dict[Reason, int], int]:
        """Bring back the rows with these keys in one transaction. Return how many were, the others by reason, and how many lost a reference."""
        for attempt in range(ATTEMPTS):
            try:
                with self._transaction():
                    result, companions = self._in_transaction(self.staged[rules.table.oid], missing)
            except (_Raced, IntegrityError, OperationalError) as error:
                if attempt == ATTEMPTS - 1 or not _is_by_others(error):
                    raise _explained(error, rules) from error
            else:
                self.early.update(companions)
                return result
        raise AssertionError

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Open a transaction, during which no process records an entry of the ledger. A dry run keeps no process from it."""
        if self.dry_run:
            with transaction.atomic(durable=True):
                yield
            return
        with publishing(), transaction.atomic(durable=True):
            limit_waiting()
            yield
            check_deferred_constraints()

    def _in_transaction(self, rows: StagedRows, missing: Sequence[str]) -> tuple[tuple[int, dict[Reason, int], int], dict[int, int]]:
        relations = self._relations()
        self._stage(rows, missing, relations)
        with_rows = self._with(relations, rows)
        companions: dict[int, StagedRows] = {}
        cleared = 0
        for reference in rows.rules.references:
            if reference.cleared:
                oid = reference.parent.oid
                if (other := self.staged.get(oid)) is not None and reference.key is not None and oid not in companions:
                    # The rows of a circle come back together: between two transactions one of them would have lost its reference.
                    self._stage(other, rows.parents(reference), with_rows)
                    for theirs in other.rules.references:
                        if theirs.cleared:
                            other.clear(theirs, with_rows)
                    companions[oid] = other
                cleared += rows.clear(reference, self._with(relations, companions[oid]) if oid in companions else relations)
        brought_back, left_out = rows.counts()
        self._insert(rows)
        return (brought_back, left_out, cleared), {oid: self._insert(other) for oid, other in companions.items()}

    def _stage(self, rows: StagedRows, keys: Sequence[str], relations: Relations) -> None:
        rows.load(self.scratch, keys)
        rows.delete_present(self._relations()[rows.rules.table.oid])
        rows.mark_users(_in_ledger(rows.users(), self.keys))
        rows.mark_rules(relations)

    def _with(self, relations: Relations, rows: StagedRows) -> Relations:
        return {oid: [*found, *([rows.kept] if oid == rows.rules.table.oid else [])] for oid, found in relations.items()}

    def _insert(self, rows: StagedRows) -> int:
        expected, _ = rows.counts()
        oid = rows.rules.table.oid
        if rows.insert_into(self.planned[oid].name if self.dry_run else rows.rules.table.quoted) != expected:
            raise _Raced
        return expected


def _in_ledger(user_ids: Collection[UUID], keys: SubjectKeys) -> set[UUID]:
    """Return the users with an action in the ledger that was not undone, with one that the ledger does not have yet, or in ``erased_users``."""
    if not user_ids:
        return set()
    ids = uuid_array(user_ids)
    found = {user_id for (user_id, _), kind in last_kinds(user_ids, keys).items() if not is_undoing(kind)}
    noted = PendingAction.objects.filter(IsAmong("user_id", ids)).values_list("user_id", "kind")
    found |= {user_id for user_id, kind in noted if not is_undoing(Kind(kind))}
    return found | set(ErasedUser.objects.filter(IsAmong("pk", ids)).values_list("pk", flat=True))


def _is_by_others(error: Exception) -> bool:
    """Return whether other transactions can be the reason, so that another attempt can succeed."""
    by_others = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
    return isinstance(error, _Raced | IntegrityError) or isinstance(error.__cause__, by_others)


def _explained(error: Exception, rules: TableRules) -> Exception:
    name = rules.table.name
    if isinstance(error, IntegrityError):
        constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) or "NOT NULL"
        return UserFacingError(
            f"The database rejects rows of {name!r} by {constraint!r}: these and the following rows were not brought back. Change the rule, or leave the"
            " table out, then run the command again."
        )
    if _is_by_others(error):
        return UserFacingError(
            f"Other transactions keep locks on rows of {name!r}: these and the following rows were not brought back. Run the command again: it continues."
        )
    return error
