"""Undo migrations, the last applied first, whatever app they are in."""

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
from findme.migrator.migrate import Plan, call_django_migrate, django_uses, running
from findme.migrator.timeouts import MigrationTimeouts
from findme.migrator.undo.data_loss import DataLoss
from findme.migrator.undo.guard import Consent, guarded_undo
from findme.migrator.undo.plan import RollbackPlan, in_order_of_application, plan_rollback
from findme.migrator.version import applied_migrations

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The migrations that were undone, in this order, what went with them, and the version of the schema after it."""

    migrations: tuple[str, ...]
    losses: tuple[DataLoss, ...]
    version: int


class RollbackExecutor(LockedExecutor):
    """Whatever Django's ``migrate`` asks it for, it undoes the last COUNT applied."""

    def __init__(self, count: int, *args: Any) -> None:
        super().__init__(*args)
        self.count = count

    def migration_plan(self, targets: Any, clean_start: bool = False) -> Plan:
        """A clean start asks for the order of all migrations, from which the state before each one is built: here that of application."""
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
    """Undo what PLAN says, each migration in a transaction of its own; ``on_undone`` is called for each.

    Raises UserFacingError, and undoes nothing, if the migrations are no longer those of the plan or, without FORCE, if more would be lost
    than ACCEPTED: what a person was shown and has agreed to. Looks for it once more under each table's lock.
    """
    with running("rollback", using=using, timeouts=timeouts or MigrationTimeouts.configured(), on_warning=on_warning) as run:
        run.on_done = on_undone
        now = plan_rollback(len(plan.migrations), using=using)
        consent = Consent(plan.migrations, tuple(accepted), force)
        with (
            guarded_undo(connections[using], now, consent, preview="rollback --dry-run"),
            django_uses(partial(RollbackExecutor, len(plan.migrations), run)),
        ):
            call_django_migrate(using)
    return RolledBack(tuple(run.done), now.losses, len(applied_migrations(using)))


def remove_stale_content_types(connection: BaseDatabaseWrapper, state: ProjectState, app_labels: set[str]) -> int:
    """Delete the content types of models of these apps that STATE no longer has, with their permissions, wherever those were granted; how many.

    Django never does by itself: its command ``remove_stale_contenttypes`` asks the code, which still has the models.
    """
    try:
        content_types = state.apps.get_model("contenttypes", "ContentType")._base_manager.using(connection.alias)
    except LookupError:
        return 0
    rows = content_types.filter(app_label__in=app_labels).values_list("pk", "app_label", "model")
    stale = [pk for pk, app_label, model in rows if (app_label, model) not in state.models]
    content_types.filter(pk__in=stale).delete()
    return len(stale)
