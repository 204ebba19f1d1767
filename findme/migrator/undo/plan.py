"""Plan a rollback before anything is undone: what it would do, and whether it could be completed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations import Migration, SeparateDatabaseAndState
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from findme.core.errors import UserFacingError, one_line
from findme.migrator.baseline.state import read_baseline
from findme.migrator.earlier_schema import require_current_names
from findme.migrator.undo.data_loss import DataLoss, find_losses
from findme.migrator.version import applied_migrations

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """The migrations that would be undone, in this order, and the data that would be deleted."""

    migrations: tuple[str, ...]
    losses: tuple[DataLoss, ...]

    def require_no_loss(self, accepted: Sequence[DataLoss] = ()) -> None:
        """Raise UserFacingError if a row or a value would be lost that is not in ``accepted``."""
        lost = [str(loss) for loss in self.losses if loss.is_significant and not loss.is_within(accepted)]
        if lost:
            since = " now" if accepted else ""
            raise UserFacingError(f"This would{since} drop {', '.join(lost)}: nothing was undone. To drop it, add --force.")


def plan_rollback(count: int | None = 1, *, using: str = DEFAULT_DB_ALIAS) -> RollbackPlan:
    """Return what undoing the last ``count`` applied migrations would do; None means all of them.

    Raises UserFacingError if it could not be completed.
    """
    require_current_names(connections[using])
    loader = MigrationLoader(connections[using])
    order = in_order_of_application(loader)
    if count is not None and count > len(order):
        raise UserFacingError(f"{count} migrations cannot be undone: {len(order)} are applied. To undo all, run manage.py rollback --all.")
    kept = 0 if count is None else len(order) - count
    return _plan(loader, order, order[kept:][::-1])


def plan_undo(loader: MigrationLoader, undone: Sequence[Migration]) -> RollbackPlan:
    """Return what undoing these applied migrations in this order would do. Raises UserFacingError if it could not be completed."""
    return _plan(loader, in_order_of_application(loader), undone)


def _plan(loader: MigrationLoader, order: Sequence[Migration], undone: Sequence[Migration]) -> RollbackPlan:
    assert loader.connection is not None
    if baseline := read_baseline(loader.connection):
        baseline.refuse_undo(tuple(map(str, undone)))
    _require_consistent_history(loader)
    _require_known_migrations(loader, undone)
    _require_reversible(undone)
    _require_no_dependents(loader, order, undone)
    remaining = [migration for migration in order if migration not in undone]
    found = find_losses(loader.connection, undone, before=_state(loader, order), after=_state(loader, remaining))
    return RollbackPlan(tuple(map(str, undone)), found)


def in_order_of_application(loader: MigrationLoader) -> list[Migration]:
    """Return the applied migrations that the code has, in the order of application."""
    assert loader.connection is not None
    keys = [_key(applied.description) for applied in applied_migrations(loader.connection.alias)]
    return [loader.graph.nodes[key] for key in keys if key in loader.graph.nodes]


def _key(description: str) -> Key:
    app, _, name = description.partition(".")
    return app, name


def _state(loader: MigrationLoader, migrations: Sequence[Migration]) -> ProjectState:
    state = ProjectState(real_apps=loader.unmigrated_apps)
    for migration in migrations:
        migration.mutate_state(state, preserve=False)
    return state


def _require_consistent_history(loader: MigrationLoader) -> None:
    assert loader.connection is not None
    try:
        loader.check_consistent_history(loader.connection)
    except InconsistentMigrationHistory as error:
        raise UserFacingError(f"{one_line(error)} Nothing was undone.") from error


def _require_known_migrations(loader: MigrationLoader, undone: Sequence[Migration]) -> None:
    """Raise UserFacingError if a migration that this code does not have was applied later: it may depend on an undone one."""
    remaining = set(map(str, undone))
    assert loader.connection is not None
    for applied in reversed(applied_migrations(loader.connection.alias)):
        if not remaining:
            return
        if _key(applied.description) not in loader.disk_migrations:
            raise UserFacingError(
                f"{applied.description} is applied but not in this code: nothing was undone. Use the release that contains it."
            )
        remaining.discard(applied.description)


def _require_reversible(undone: Sequence[Migration]) -> None:
    for migration in undone:
        if not all(map(is_reversible, migration.operations)):
            raise UserFacingError(
                f"{migration} is not reversible: nothing was undone. Restore a backup, or write a new migration that fixes it."
            )


def is_reversible(operation: Operation) -> bool:
    if isinstance(operation, SeparateDatabaseAndState):
        return all(map(is_reversible, operation.database_operations))
    return bool(operation.reversible)


def _require_no_dependents(loader: MigrationLoader, order: Sequence[Migration], undone: Sequence[Migration]) -> None:
    """Raise UserFacingError if a remaining migration depends on an undone one: after ``--fake``, the recorded order can be wrong."""
    remaining: set[Key] = {(migration.app_label, migration.name) for migration in order}
    for migration in undone:
        key = (migration.app_label, migration.name)
        remaining.discard(key)
        if needing := sorted({node.key for node in loader.graph.node_map[key].children} & remaining):
            raise UserFacingError(
                f"{migration} was recorded after {'.'.join(needing[0])}, which depends on it: nothing was undone."
                f" Undo that one first: manage.py migrate {needing[0][0]} zero."
            )
