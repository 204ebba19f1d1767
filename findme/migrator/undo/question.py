"""Show the plan and ask the operator before ``rollback`` or ``migrate APP EARLIER`` undoes anything."""

from __future__ import annotations

from collections.abc import Callable

from findme.core.commands.prompts import confirm
from findme.core.plurals import counted
from findme.migrator.undo.plan import RollbackPlan


def describe(plan: RollbackPlan, write: Callable[[str], None]) -> None:
    for migration in plan.migrations:
        write(f"to undo: {migration}")
    describe_losses(plan, write)


def describe_losses(plan: RollbackPlan, write: Callable[[str], None]) -> None:
    for loss in plan.losses:
        write(f"to delete: {loss}")


def ask(plan: RollbackPlan, prompt: Callable[[str], None]) -> None:
    """Return if the answer is yes. Raise UserFacingError otherwise, and if the standard input is not a terminal."""
    confirm(f"Undo {counted(len(plan.migrations), 'migration')}? [y/N] ", "nothing was undone", prompt)
