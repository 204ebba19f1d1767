"""One step of a request: a locked row, and its entry in the audit log, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from psycopg import errors

from findme.core.errors import UserFacingError, one_line
from privacy.audit import Action, OutcomeUnknown, record_failure_of_step, record_step
from privacy.models import DataSubjectRequest

LOCK_SECONDS = 5
"""How long to wait for another transaction that changes the same request."""


def require(request_id: UUID) -> DataSubjectRequest:
    """Return the request. Raise UserFacingError if there is none."""
    request = DataSubjectRequest.objects.filter(pk=request_id).first()
    if request is None:
        raise UserFacingError(f"There is no request {str(request_id)!r}: nothing was changed. Run manage.py privacy_request list")
    return request


@contextmanager
def locked_step(action: Action, request_id: UUID, actor_id: UUID | None) -> Iterator[DataSubjectRequest]:
    """Lock the request, save what the block changes, and add the entry to the audit log.

    If the block raises, nothing is changed, and the audit log has the failure.
    """
    before, is_finished = require(request_id), False
    with record_failure_of_step(action, before, actor_id=actor_id), one_line_errors(request_id):
        try:
            with transaction.atomic(durable=True):
                with connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                request = DataSubjectRequest.objects.select_for_update(no_key=True).get(pk=request_id)
                yield request
                request.save(force_update=True)
                record_step(action, request, actor_id=actor_id)
                is_finished = True
        except DatabaseError as error:
            if is_finished:
                raise OutcomeUnknown(
                    f"PostgreSQL did not confirm the commit ({one_line(error)}): whether the request {request_id} was changed is unknown."
                    f" Run manage.py privacy_request show {request_id}"
                ) from error
            raise


@contextmanager
def one_line_errors(request_id: UUID) -> Iterator[None]:
    """Translate the refusals of the database. Their texts have ids and names of columns, and no address."""
    try:
        yield
    except IntegrityError as error:
        if not isinstance(error.__cause__, errors.CheckViolation):
            raise
        diagnosis = error.__cause__.diag
        rule = str(diagnosis.constraint_name)
        sentence = diagnosis.message_primary if rule.endswith("_step_check") else f"It breaks the rule {rule!r} of PostgreSQL."
        raise UserFacingError(
            f"{str(sentence).rstrip('.')}: nothing was changed. Run manage.py privacy_request show {request_id}"
        ) from error
    except OperationalError as error:
        if not isinstance(error.__cause__, errors.LockNotAvailable):
            raise
        raise UserFacingError(
            f"Another transaction changes the request {request_id}: nothing was changed after {LOCK_SECONDS} seconds. Run it again."
        ) from error
