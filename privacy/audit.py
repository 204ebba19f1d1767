"""Audit log: exports, anonymizations, deletions, retries, adoptions and the steps of requests, with actor and outcome.

An action that removes a user is recorded in its own transaction, so neither is committed without the other. A failure is recorded afterwards.
The rows contain users as UUIDs without a foreign key, and no other personal data.
"""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

from django.db import DatabaseError, connection
from django.db.models import DateTimeField, ExpressionWrapper, QuerySet, Value
from django.db.models.functions import Now

from findme.core.errors import UserFacingError
from findme.core.postgresql.arrays import uuid_array
from privacy.models import AuditEntry, DataSubjectRequest

Action: TypeAlias = AuditEntry.Action
Outcome: TypeAlias = AuditEntry.Outcome

RETENTION = timedelta(days=3 * 365)
"""How long an entry is kept. A trigger rejects an earlier deletion."""
LOGIN_UID = Path("/proc/self/loginuid")
NO_LOGIN = 2**32 - 1
"""Login uid of a process that no login started, such as a service or a container."""

MAX_ACCOUNT_LENGTH = 64
"""Most characters of an account name in an entry."""

logger = logging.getLogger(__name__)


class OutcomeUnknown(UserFacingError):
    """An error after which it is unknown whether the action took effect."""


def record(
    action: Action, target_id: UUID, outcome: Outcome = Outcome.DONE, *, actor_id: UUID | None, informed_on: date | None = None
) -> None:
    """Add an entry in the current transaction. ``actor_id`` is the staff member, or None for a command."""
    record_each(action, [target_id], outcome, actor_id=actor_id, informed_on=informed_on)


def record_each(
    action: Action,
    target_ids: Collection[UUID],
    outcome: Outcome = Outcome.DONE,
    *,
    actor_id: UUID | None,
    informed_on: date | None = None,
) -> None:
    """Add an entry for each target, as ``record`` does."""
    actor = actor_columns(actor_id)
    entries = [AuditEntry(action=action, target_id=one, outcome=outcome, informed_on=informed_on, **actor) for one in target_ids]
    AuditEntry.objects.bulk_create(entries, batch_size=1000)


def record_many(action: Action, target_ids: Collection[UUID]) -> None:
    """Add an entry of a command for each of many targets, in the current transaction. It takes a tenth of the time of ``record_each``."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_log (action, target_id, outcome, actor_account) SELECT %s, unnest(%s::uuid[]), %s, %s",
            [action, uuid_array(target_ids), Outcome.DONE, operating_system_account()],
        )


@contextmanager
def record_failure_of(action: Action, target_id: UUID, *, actor_id: UUID | None) -> Iterator[None]:
    """Add an entry if the block raises, after the rollback of its transaction. Call this outside a transaction."""
    try:
        yield
    except BaseException as error:
        with _log_if_not_recorded(error, action, target_id):
            record(action, target_id, outcome_of(error), actor_id=actor_id)
        raise


def record_policy(action: Action) -> None:
    """Add an entry of a command for a decision that is about no single user, in the current transaction."""
    AuditEntry.objects.create(action=action, outcome=Outcome.DONE, **actor_columns(None))


def record_step(action: Action, request: DataSubjectRequest, outcome: Outcome = Outcome.DONE, *, actor_id: UUID | None) -> None:
    """Add an entry for a step of a request in the current transaction."""
    actor = actor_columns(actor_id)
    AuditEntry.objects.create(action=action, target_id=request.user_id, request_id=request.pk, outcome=outcome, **actor)


@contextmanager
def record_failure_of_step(action: Action, request: DataSubjectRequest, *, actor_id: UUID | None) -> Iterator[None]:
    """Add an entry if the block raises, as ``record_failure_of`` does."""
    try:
        yield
    except BaseException as error:
        with _log_if_not_recorded(error, action, request.pk):
            record_step(action, request, outcome_of(error), actor_id=actor_id)
        raise


@contextmanager
def record_adoption(collection: str) -> Iterator[None]:
    """Add an entry before a collection is adopted, and one with the outcome.

    A transaction of PostgreSQL does not cover the changes in the vector store.
    """
    _record_adoption(collection, Outcome.STARTED)
    try:
        yield
    except BaseException as error:
        with _log_if_not_recorded(error, Action.ADOPT, collection):
            _record_adoption(collection, Outcome.UNKNOWN)  # each step before the error stays done, in both stores
        raise
    _record_adoption(collection, Outcome.DONE)


def _record_adoption(collection: str, outcome: Outcome) -> None:
    AuditEntry.objects.create(action=Action.ADOPT, collection=collection, outcome=outcome, **actor_columns(None))


def outcome_of(error: BaseException) -> Outcome:
    """Return the outcome of an action that raised ``error``. An interrupt may have arrived after the commit."""
    return Outcome.FAILED if isinstance(error, Exception) and not isinstance(error, OutcomeUnknown) else Outcome.UNKNOWN


def done_or_unchanged(changed: bool) -> Outcome:
    return Outcome.DONE if changed else Outcome.UNCHANGED


@contextmanager
def _log_if_not_recorded(failure: BaseException, action: Action, target: UUID | str) -> Iterator[None]:
    """Log an audit entry that cannot be written, so that the caller still gets the original error.

    If PostgreSQL also rejected the action, nothing is logged: nothing was changed, and the caller reports the error.
    """
    try:
        yield
    except DatabaseError as error:
        if isinstance(failure, DatabaseError):
            return
        kind = type(error.__cause__ or error).__name__  # PostgreSQL's message contains values of the row
        logger.error("The audit log has no entry for this action: %s of %s failed (%s).", action, target, kind)  # noqa: TRY400


def actor_columns(user_id: UUID | None, prefix: str = "actor") -> dict[str, UUID | str]:
    """Return the column for the actor: ``{prefix}_id`` for a staff member, ``{prefix}_account`` for a command."""
    return {f"{prefix}_account": operating_system_account()} if user_id is None else {f"{prefix}_id": user_id}


def operating_system_account() -> str:
    """Return the name of the account that logged in, even behind sudo, or else the account of the process.

    An account without a name is returned as its number.
    """
    uid = _login_uid()
    if uid is None:
        uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name.encode(errors="backslashreplace").decode()[:MAX_ACCOUNT_LENGTH]
    except KeyError:
        return str(uid)


def _login_uid() -> int | None:
    try:
        uid = int(LOGIN_UID.read_text())
    except (OSError, ValueError):
        return None
    return None if uid == NO_LOGIN else uid


def expired() -> QuerySet[AuditEntry]:
    """Return the entries after the end of their retention, by PostgreSQL's clock."""
    return AuditEntry.objects.filter(recorded_at__lt=ExpressionWrapper(Now() - Value(RETENTION), DateTimeField()))
