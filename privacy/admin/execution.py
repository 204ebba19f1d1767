"""Run a privacy action for several users, one after another, and report the result for each user."""

from __future__ import annotations

import logging
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.contrib.messages import ERROR, SUCCESS, WARNING
from django.db import Error

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from privacy.actions.outcome import Outcome
from privacy.actions.stores import DeletionUnconfirmed
from privacy.admin.actions import PrivacyAction

T = TypeVar("T")

logger = logging.getLogger(__name__)

SEE_THE_LOG = "The server's log has the error. Check these users before you try again."


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """What was done, or ``reason`` if the action failed."""

    user_id: UUID
    done: T | None
    reason: str = ""


def run_for_each(action: PrivacyAction, perform: Callable[[UUID], T], user_ids: Iterable[UUID]) -> list[Result[T]]:
    """Run ``perform``, which writes the audit log, for each user.

    After a store has not answered, the remaining users fail without an attempt, because each attempt would wait as long.
    """
    results: list[Result[T]] = []
    unavailable: str | None = None
    for user_id in user_ids:
        if unavailable is not None:
            results.append(Result(user_id, None, unavailable))
            continue
        try:
            done = perform(user_id)
        except StoreUnavailable as error:
            unavailable = _untouched(action, error)
            results.append(Result(user_id, None, one_line(error) if isinstance(error, DeletionUnconfirmed) else unavailable))
        except UserFacingError as error:
            results.append(Result(user_id, None, one_line(error)))
        except Exception as error:  # noqa: BLE001  # an error for one user must not hide the results of the others
            _report(f"{action.title} failed for {user_id}", error)
            results.append(Result(user_id, None, SEE_THE_LOG))
        else:
            results.append(Result(user_id, done))
    return results


def _untouched(action: PrivacyAction, error: StoreUnavailable) -> str:
    """Return the reason for the users without an attempt, after a store has not answered."""
    reason = error.reason if isinstance(error, DeletionUnconfirmed) else one_line(error)
    return f"{reason} Nothing has changed." if action.removes else reason


def _report(what: str, error: Exception) -> None:
    """Log the error. For errors of PostgreSQL, log only type and place, because their messages contain values of the row."""
    if not isinstance(error, Error):
        logger.error(what, exc_info=error)
        return
    diagnosis = getattr(error.__cause__, "diag", None)
    details = [getattr(diagnosis, name, None) for name in ("sqlstate", "table_name", "constraint_name")]
    kind = ", ".join([type(error.__cause__ or error).__name__, *filter(None, details)])
    logger.error("%s: %s\n%s", what, kind, "".join(traceback.format_tb(error.__traceback__)))


COMPLETED_LATER = "When the holds end, manage.py process_requests completes it."
AFTERWARDS = "Then run: manage.py sync_qdrant --once"


def format_results(action: PrivacyAction, results: list[Result[Outcome]]) -> Iterator[tuple[int, str]]:
    """Yield level and text of each message: one for all successes, then one per reason."""
    complete = [result.user_id for result in results if result.done is not None and not result.done.has_held_data]
    if complete:
        yield SUCCESS, f"{action.done.capitalize()}: {_named(complete)}."
    held = [result.user_id for result in results if result.done is not None and result.done.has_held_data]
    if held:
        yield WARNING, f"{action.done.capitalize()} except for held data: {_named(held)}. {COMPLETED_LATER}"
    pending = ((pending_store, result.user_id) for result in results if result.done for pending_store in result.done.pending_stores)
    for pending_store, user_ids in _grouped(pending):
        where = f"the {pending_store.store} may still hold {_named(user_ids)}"
        yield WARNING, f"No search shows these users any more, but {where}. {pending_store.reason} {AFTERWARDS}"
    yield from failures(action, results)


def failures(action: PrivacyAction, results: Sequence[Result[Any]]) -> Iterator[tuple[int, str]]:
    """Yield one message per reason for a failure."""
    for reason, user_ids in _grouped((result.reason, result.user_id) for result in results if result.done is None):
        yield ERROR, f"{action.noun} failed for {_named(user_ids)}: {reason}"


def _grouped(pairs: Iterable[tuple[T, UUID]]) -> Iterator[tuple[T, list[UUID]]]:
    groups: dict[T, list[UUID]] = defaultdict(list)
    for key, user_id in pairs:
        groups[key].append(user_id)
    return iter(groups.items())


def _named(user_ids: list[UUID]) -> str:
    return ", ".join(map(str, user_ids))
