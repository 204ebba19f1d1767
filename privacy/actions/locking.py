"""One person's row, locked for as long as they are being changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import DatabaseError, OperationalError, connection, transaction
from psycopg import errors

from findme.core.errors import UserFacingError, one_line
from privacy.audit import OutcomeUnknown
from privacy.people import Person

LOCK_SECONDS = 5
"""How long to wait for somebody else's lock: longer than ``deadlock_timeout``, and short enough for the person who waits at a page."""


@contextmanager
def person_locked(user_id: UUID) -> Iterator[Person | None]:
    """One transaction that holds the person's row; yields the row as it is under the lock, or None where there is none.

    Raises UserFacingError when somebody else holds what it needs, when the answer to the commit is lost, and when a row breaks a rule that
    the database has not proven for all rows (``NOT VALID``).
    """
    answered = False
    try:
        with transaction.atomic(durable=True):
            _limit_waiting()
            yield _lock(user_id)
            answered = True
    except DatabaseError as error:
        if answered:
            raise _commit_lost(user_id, error) from error
        if isinstance(error, OperationalError) and isinstance(error.__cause__, errors.LockNotAvailable | errors.DeadlockDetected):
            raise UserFacingError(_locked(user_id, error.__cause__)) from error
        if isinstance(error.__cause__, errors.CheckViolation):
            raise UserFacingError(
                f"The rows of {str(user_id)!r} break the rule {error.__cause__.diag.constraint_name}: nothing was changed."
                " Correct them with SQL, then run it again."
            ) from error
        raise


def check_deferred_constraints() -> None:
    """Let PostgreSQL check at once what it would check at the commit: afterwards nothing but a lost connection can make the commit fail."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _limit_waiting() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")


def _lock(user_id: UUID) -> Person | None:
    row = get_user_model().objects.select_for_update().filter(pk=user_id).values_list("pk", "email", "deleted_at").first()
    return Person(*row) if row else None


def _locked(user_id: UUID, cause: errors.LockNotAvailable | errors.DeadlockDetected) -> str:
    if isinstance(cause, errors.DeadlockDetected):
        return f"Another transaction and this one each waited for rows of {str(user_id)!r}: nothing was changed. Run it again."
    return f"Another transaction holds the rows of {str(user_id)!r}: after {LOCK_SECONDS} seconds nothing was changed. Run it again."


def _commit_lost(user_id: UUID, error: DatabaseError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"PostgreSQL did not confirm the commit ({one_line(error)}): whether {str(user_id)!r} was changed is not known."
        " Run it again; if the person is to stay, manage.py sync_qdrant --once brings back what the vector store lost."
    )
