"""Lock on a user's row during a privacy action."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import DatabaseError, OperationalError, connection, transaction
from psycopg import errors

from findme.core.errors import UserFacingError, one_line
from privacy.audit import OutcomeUnknown
from privacy.users import ROW_COLUMNS, UserRow


class RowsLocked(UserFacingError):
    """Another transaction keeps a required lock. Nothing was changed."""


LOCK_SECONDS = 5
"""How long to wait for another transaction: longer than ``deadlock_timeout``, and short enough for an admin page."""


@contextmanager
def locked_user(user_id: UUID) -> Iterator[UserRow | None]:
    """Open a transaction that locks the user's row. Yield the row as read under the lock, or None if there is none.

    Raise RowsLocked if another transaction keeps a required lock, and UserFacingError if the answer to the commit is lost, if a row violates a constraint
    that the database has not validated (``NOT VALID``), or if a table of another program refers to a row that must be deleted.
    """
    answered = False
    try:
        with transaction.atomic(durable=True):
            limit_waiting()
            yield _lock(user_id)
            answered = True
    except DatabaseError as error:
        if answered:
            raise _commit_lost(user_id, error) from error
        if isinstance(error, OperationalError) and isinstance(error.__cause__, errors.LockNotAvailable | errors.DeadlockDetected):
            raise RowsLocked(_locked(user_id, error.__cause__)) from error
        if isinstance(error.__cause__, errors.CheckViolation):
            raise UserFacingError(
                f"The rows of {str(user_id)!r} violate the constraint {error.__cause__.diag.constraint_name}: nothing was changed."
                " Correct the rows with SQL, then run this again."
            ) from error
        if isinstance(error.__cause__, errors.ForeignKeyViolation | errors.RestrictViolation):
            raise UserFacingError(_referred_to(user_id, error.__cause__)) from error
        raise


def check_deferred_constraints() -> None:
    """Check deferred constraints now. Afterwards only a lost connection can make the commit fail."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def limit_waiting() -> None:
    """Limit how long statements of the transaction wait for other transactions."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")


def _lock(user_id: UUID) -> UserRow | None:
    row = get_user_model().objects.select_for_update().filter(pk=user_id).values_list(*ROW_COLUMNS).first()
    return UserRow(*row) if row else None


def _locked(user_id: UUID, cause: errors.LockNotAvailable | errors.DeadlockDetected) -> str:
    if isinstance(cause, errors.DeadlockDetected):
        return f"Another transaction and this one waited for each other's rows of {str(user_id)!r}: nothing was changed. Run it again."
    return f"Another transaction holds the rows of {str(user_id)!r}: nothing was changed after {LOCK_SECONDS} seconds. Run it again."


def _referred_to(user_id: UUID, cause: errors.Error) -> str:
    if cause.diag.constraint_name == "holds_kept_rows":
        return f"A hold of {str(user_id)!r} was set at the same time: nothing was changed. Run it again."
    return (
        f"The table {cause.diag.table_name!r} refers to rows of {str(user_id)!r} by {cause.diag.constraint_name!r}: nothing was changed."
        " Delete its rows, or give that foreign key ON DELETE CASCADE, then run this again."
    )


def _commit_lost(user_id: UUID, error: DatabaseError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"PostgreSQL did not confirm the commit ({one_line(error)}): whether {str(user_id)!r} was changed is unknown."
        " Run this again, or leave it to manage.py process_requests."
    )
