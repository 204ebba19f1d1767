"""Check every undo, by ``rollback`` or ``migrate APP EARLIER``: no row is dropped without the operator's consent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.errors import UserFacingError
from findme.migrator.undo.data_loss import DataLoss, prevent_data_loss
from findme.migrator.undo.plan import RollbackPlan


@dataclass(frozen=True, slots=True)
class Consent:
    """What the operator agreed to.

    ``migrations`` are those that were shown, None if none were. ``losses`` were accepted by an answer. ``force`` accepts every loss.
    """

    migrations: tuple[str, ...] | None = None
    losses: tuple[DataLoss, ...] = ()
    force: bool = False


@contextmanager
def guarded_undo(connection: BaseDatabaseWrapper, plan: RollbackPlan, consent: Consent, *, preview: str) -> Iterator[None]:
    """Undo ``plan`` inside the block, under the migration lock.

    Raises UserFacingError before the block if the plan is no longer the one that was shown, or drops more than was accepted. Inside the
    block each table is checked again, under its own lock, before it is dropped. ``preview`` is the command that shows the plan again.
    """
    if consent.migrations is not None and consent.migrations != plan.migrations:
        raise UserFacingError(f"Other migrations were applied or undone in the meantime: nothing was undone. See the new plan: {preview}.")
    if consent.force:
        yield
        return
    plan.require_no_loss(consent.losses)
    with connection.execute_wrapper(partial(prevent_data_loss, consent.losses)):
        yield
