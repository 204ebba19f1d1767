"""Show the plan and ask the operator before ``rollback`` or ``migrate APP EARLIER`` undoes anything."""

from __future__ import annotations

import sys
from collections.abc import Callable

from findme.core.errors import UserFacingError
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
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserFacingError("The standard input is not a terminal: nothing was undone. In a script, add --no-input.")
    migrations = "1 migration" if len(plan.migrations) == 1 else f"{len(plan.migrations)} migrations"
    prompt(f"Undo {migrations}? [y/N] ")
    try:
        answer = input()
    except EOFError:
        prompt("\n")
        raise UserFacingError("There was no answer: nothing was undone. In a script, add --no-input.") from None
    if answer.strip().lower() not in ("y", "yes"):
        raise UserFacingError(f"The answer was {answer!r}, not y: nothing was undone.")
