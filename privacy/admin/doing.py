"""Doing a privacy action to several people, one after the other: what happens to one is never hidden by what happens to another."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import Error

from findme.console.errors import NotDone, StoreUnavailable, one_line
from privacy.admin.actions import PrivacyAction
from privacy.stores import RemovalUnknown

T = TypeVar("T")

logger = logging.getLogger(__name__)

SEE_THE_LOG = "The server's log says why. Look at them before you try again."


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """Either what was done, and whether the admin's log says so; or why it was not."""

    user_id: UUID
    done: T | None
    reason: str = ""
    logged: bool = True


def do_for_each(actor: Any, action: PrivacyAction, perform: Callable[[UUID], T], user_ids: Iterable[UUID]) -> list[Result[T]]:
    """Do it, and write who did it to whom into the admin's log, under the person's id alone.

    Once a store does not answer, nobody after is tried: each would wait as long.
    """
    results: list[Result[T]] = []
    out_of_reach: str | None = None
    for user_id in user_ids:
        if out_of_reach is not None:
            results.append(Result(user_id, None, out_of_reach))
            continue
        try:
            done = perform(user_id)
        except StoreUnavailable as error:
            out_of_reach = _untouched(action, error)
            results.append(Result(user_id, None, one_line(error) if isinstance(error, RemovalUnknown) else out_of_reach))
        except NotDone as error:
            results.append(Result(user_id, None, one_line(error)))
        except Exception as error:  # noqa: BLE001  # a defect of ours in one of them must not hide what became of the others
            _report(f"{action.title} failed for {user_id}", error)
            results.append(Result(user_id, None, SEE_THE_LOG))
        else:
            results.append(Result(user_id, done, logged=_logged(actor, action, user_id)))
    return results


def _untouched(action: PrivacyAction, error: StoreUnavailable) -> str:
    """What to say of those for whom nothing was begun, as a store does not answer."""
    reason = error.reason if isinstance(error, RemovalUnknown) else one_line(error)
    return f"{reason} Nothing has changed." if action.removes else reason


def _report(what: str, error: Exception) -> None:
    """Into the server's log. PostgreSQL's own words have the values of the row: of its errors only the kind and the place are written."""
    if not isinstance(error, Error):
        logger.error(what, exc_info=error)
        return
    diagnosis = getattr(error.__cause__, "diag", None)
    details = [getattr(diagnosis, name, None) for name in ("sqlstate", "table_name", "constraint_name")]
    kind = ", ".join([type(error.__cause__ or error).__name__, *filter(None, details)])
    logger.error("%s: %s\n%s", what, kind, "".join(traceback.format_tb(error.__traceback__)))


def _logged(actor: Any, action: PrivacyAction, user_id: UUID) -> bool:
    """Whether the entry could be written: what was done is done, and whoever comes after has their turn."""
    try:
        _log(actor, action, user_id)
    except Error as error:
        _report(f"The admin's log has no entry of this: {action.title}, {user_id}", error)
        return False
    return True


def _log(actor: Any, action: PrivacyAction, user_id: UUID) -> None:
    LogEntry.objects.create(
        user_id=actor.pk,
        content_type=ContentType.objects.get_for_model(get_user_model()),
        object_id=str(user_id),
        object_repr=str(user_id),
        action_flag=action.log_flag,
        change_message=f"{action.done[0].upper()}{action.done[1:]}.",
    )
