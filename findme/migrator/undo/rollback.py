"""Undo the last applied migrations of all apps, the last one first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.state import ProjectState

from findme.migrator.executor import LockedExecutor
from findme.migrator.migrate import Plan, call_django_migrate, running, use_executor
from findme.migrator.timeouts import MigrationTimeouts
from findme.migrator.undo.data_loss import DataLoss
from findme.migrator.undo.guard import Consent, guarded_undo
from findme.migrator.undo.plan import RollbackPlan, in_order_of_application, plan_rollback
from findme.migrator.version import applied_migrations

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The migrations that were undone, in this order, the data that was deleted, and the schema version afterwards."""

    migrations: tuple[str, ...]
    losses: tuple[DataLoss, ...]
    version: int


class RollbackExecutor(LockedExecutor):
    """Undo the last ``count`` applied migrations, whatever targets Django's ``migrate`` passes."""

    def __init__(self, count: int, *args: Any) -> None:
        super().__init__(*args)
        self.count = count

    def migration_plan(self, targets: Any, clean_start: bool = False) -> Plan:
        """Return the migrations to undo, or all in the order of application if ``clean_start``.

        Django builds the state before each migration from the latter.
        """
        order = in_order_of_application(self.loader)
        if clean_start:
            return [(migration, False) for migration in order]
        return [(migration, True) for migration in order[: -self.count - 1 : -1]]

    def migrate(self, *args: Any, **kwargs: Any) -> ProjectState:
        state: ProjectState = super().migrate(*args, **kwargs)
        remove_stale_content_types(self.connection, state, self.loader.migrated_apps)
        return state


def roll_back(
    plan: RollbackPlan,
    *,
    force: bool = False,
    accepted: Sequence[DataLoss] = (),
    using: str = DEFAULT_DB_ALIAS,
    timeouts: MigrationTimeouts | None = None,
    on_warning: Callable[[str], None] = logger.warning,
    on_undone: Callable[[str], None] = logger.info,
) -> RolledBack:
    """Undo the migrations of ``plan``, each in its own transaction, and call ``on_undone`` for each.

    Raises UserFacingError, and undoes nothing, if the applied migrations no longer match the plan. Without ``force`` it also does so if more
    data would be lost than ``accepted``, the losses that the operator confirmed. Each table is checked again under its lock.
    """
    with running("rollback", using=using, timeouts=timeouts or MigrationTimeouts.configured(), on_warning=on_warning) as run:
        run.on_done = on_undone
        now = plan_rollback(len(plan.migrations), using=using)
        consent = Consent(plan.migrations, tuple(accepted), force)
        with (
            guarded_undo(connections[using], now, consent, preview="rollback --dry-run"),
            use_executor(partial(RollbackExecutor, len(plan.migrations), run)),
        ):
            call_django_migrate(using)
    return RolledBack(tuple(run.done), now.losses, len(applied_migrations(using)))


def remove_stale_content_types(connection: BaseDatabaseWrapper, state: ProjectState, app_labels: set[str]) -> int:
    """Delete the content types of models that ``state`` no longer has, with their permissions and grants, and return their number.

    Django's command ``remove_stale_contenttypes`` does not do this: it compares with the code, which still has the models.
    """
    try:
        content_types = state.apps.get_model("contenttypes", "ContentType")._base_manager.using(connection.alias)
    except LookupError:
        return 0
    rows = content_types.filter(app_label__in=app_labels).values_list("pk", "app_label", "model")
    stale = [pk for pk, app_label, model in rows if (app_label, model) not in state.models]
    content_types.filter(pk__in=stale).delete()
    return len(stale)
