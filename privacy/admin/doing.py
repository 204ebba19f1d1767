"""Doing a privacy action to several people, one after the other: what happens to one is never hidden by what happens to another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType

from findme.console.command import one_line
from findme.console.errors import NotDone, StoreUnavailable
from privacy.admin.actions import PrivacyAction

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """Either what was done, or why it was not."""

    user_id: UUID
    done: T | None
    reason: str = ""


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
            results.append(Result(user_id, perform(user_id)))
        except StoreUnavailable as error:
            out_of_reach = f"{one_line(error)} Nothing has changed." if action.removes else one_line(error)
            results.append(Result(user_id, None, out_of_reach))
        except NotDone as error:
            results.append(Result(user_id, None, one_line(error)))
        except Exception:  # a defect of ours in one of them must not hide what became of the others
            logger.exception("%s failed for %s", action.title, user_id)
            results.append(Result(user_id, None, "The server's log says why. Look at them before you try again."))
        else:
            _log(actor, action, user_id)
    return results


def _log(actor: Any, action: PrivacyAction, user_id: UUID) -> None:
    LogEntry.objects.create(
        user_id=actor.pk,
        content_type=ContentType.objects.get_for_model(get_user_model()),
        object_id=str(user_id),
        object_repr=str(user_id),
        action_flag=action.log_flag,
        change_message=f"{action.done[0].upper()}{action.done[1:]}.",
    )
