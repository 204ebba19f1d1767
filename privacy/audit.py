"""The audit log: who exported, anonymized, deleted, retried or adopted what, and with what outcome.

An action that removes a user is recorded in the transaction that does it, so neither is committed without the other. A failure is recorded
afterwards. The rows name users by their UUID, without a foreign key, and hold no other datum.
"""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

from django.db import DatabaseError
from django.db.models import DateTimeField, ExpressionWrapper, QuerySet, Value
from django.db.models.functions import Now

from findme.core.errors import UserFacingError
from privacy.models import AuditEntry

Action: TypeAlias = AuditEntry.Action
Outcome: TypeAlias = AuditEntry.Outcome

KEPT = timedelta(days=3 * 365)
"""How long an entry is kept: a trigger refuses to delete it before."""
LOGIN_UID = Path("/proc/self/loginuid")
NO_LOGIN = 2**32 - 1
"""The kernel's login uid of a process that no log-in started: a service, a container."""

LONGEST_ACCOUNT = 64
"""Characters of an account's name that an entry has room for."""

logger = logging.getLogger(__name__)


class OutcomeUnknown(UserFacingError):
    """A failure after which the action may have happened all the same."""


def record(action: Action, target_id: UUID, outcome: Outcome = Outcome.DONE, *, actor_id: UUID | None) -> None:
    """Add an entry in the current transaction. ``actor_id`` is the member of the staff, or None for a command."""
    record_each(action, [target_id], outcome, actor_id=actor_id)


def record_each(action: Action, target_ids: Collection[UUID], outcome: Outcome = Outcome.DONE, *, actor_id: UUID | None) -> None:
    """Add an entry for each target, as ``record`` does."""
    actor = _actor(actor_id)
    AuditEntry.objects.bulk_create(
        [AuditEntry(action=action, target_id=target_id, outcome=outcome, **actor) for target_id in target_ids], batch_size=1000
    )


@contextmanager
def failure_recorded(action: Action, target_id: UUID, *, actor_id: UUID | None) -> Iterator[None]:
    """Add an entry if the block raises, after its transaction was rolled back. Call it outside of a transaction."""
    try:
        yield
    except BaseException as error:
        with _logged_if_not_written(error, action, target_id):
            record(action, target_id, outcome_of(error), actor_id=actor_id)
        raise


@contextmanager
def adoption_recorded(collection: str) -> Iterator[None]:
    """Add an entry before a collection is adopted, and one with the outcome: no transaction of PostgreSQL covers what happens in the vector store."""
    _record_adoption(collection, Outcome.STARTED)
    try:
        yield
    except BaseException as error:
        with _logged_if_not_written(error, Action.ADOPT, collection):
            _record_adoption(collection, Outcome.UNKNOWN)  # each step before the error stays done, in both stores
        raise
    _record_adoption(collection, Outcome.DONE)


def _record_adoption(collection: str, outcome: Outcome) -> None:
    AuditEntry.objects.create(action=Action.ADOPT, collection=collection, outcome=outcome, **_actor(None))


def outcome_of(error: BaseException) -> Outcome:
    """Return what an action that raised ``error`` came to. An interrupt may have arrived after the commit."""
    return Outcome.FAILED if isinstance(error, Exception) and not isinstance(error, OutcomeUnknown) else Outcome.UNKNOWN


def done_or_unchanged(changed: bool) -> Outcome:
    return Outcome.DONE if changed else Outcome.UNCHANGED


@contextmanager
def _logged_if_not_written(failure: BaseException, action: Action, target: UUID | str) -> Iterator[None]:
    """The caller must hear of the failure itself, so an entry about it that cannot be written is a line in the server's log.

    It is not, if PostgreSQL refused the action too: nothing can have happened, and the caller reports that.
    """
    try:
        yield
    except DatabaseError as error:
        if isinstance(failure, DatabaseError):
            return
        kind = type(error.__cause__ or error).__name__  # PostgreSQL's own words have the values of the row
        logger.error("The audit log has no entry of this: %s of %s failed (%s).", action, target, kind)  # noqa: TRY400


def _actor(user_id: UUID | None) -> dict[str, UUID | str]:
    return {"actor_account": operating_system_account()} if user_id is None else {"actor_id": user_id}


def operating_system_account() -> str:
    """Return the name of the account that logged in, also behind sudo; of a process that no log-in started, the name of its account.

    An account without a name is its number.
    """
    uid = _login_uid()
    if uid is None:
        uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name.encode(errors="backslashreplace").decode()[:LONGEST_ACCOUNT]
    except KeyError:
        return str(uid)


def _login_uid() -> int | None:
    try:
        uid = int(LOGIN_UID.read_text())
    except (OSError, ValueError):
        return None
    return None if uid == NO_LOGIN else uid


def expired() -> QuerySet[AuditEntry]:
    """Return the entries whose retention is over, by PostgreSQL's clock."""
    return AuditEntry.objects.filter(recorded_at__lt=ExpressionWrapper(Now() - Value(KEPT), DateTimeField()))
