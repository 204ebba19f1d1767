"""Run a privacy action for several users, one after the other, and say what became of each: none is hidden by what happens to another."""

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

SEE_THE_LOG = "The server's log says why. Look at them before you try again."


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """Either what was done, or why it was not."""

    user_id: UUID
    done: T | None
    reason: str = ""


def run_for_each(action: PrivacyAction, perform: Callable[[UUID], T], user_ids: Iterable[UUID]) -> list[Result[T]]:
    """Do it; ``perform`` writes the audit log.

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
            results.append(Result(user_id, None, one_line(error) if isinstance(error, DeletionUnconfirmed) else out_of_reach))
        except UserFacingError as error:
            results.append(Result(user_id, None, one_line(error)))
        except Exception as error:  # noqa: BLE001  # a defect of ours in one of them must not hide what became of the others
            _report(f"{action.title} failed for {user_id}", error)
            results.append(Result(user_id, None, SEE_THE_LOG))
        else:
            results.append(Result(user_id, done))
    return results


def _untouched(action: PrivacyAction, error: StoreUnavailable) -> str:
    """What to say of those for whom nothing was begun, as a store does not answer."""
    reason = error.reason if isinstance(error, DeletionUnconfirmed) else one_line(error)
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


AFTERWARDS = "Afterwards manage.py sync_qdrant --once removes what is left."


def format_results(action: PrivacyAction, results: list[Result[Outcome]]) -> Iterator[tuple[int, str]]:
    """Level and text of each message: those it was done to in one, and the others by what is the matter."""
    done = [result.user_id for result in results if result.done is not None]
    if done:
        yield SUCCESS, f"{action.done.capitalize()}: {_named(done)}."
    pending = ((pending_store, result.user_id) for result in results if result.done for pending_store in result.done.pending_stores)
    for pending_store, user_ids in _grouped(pending):
        where = f"the {pending_store.store} may still hold {_named(user_ids)}"
        yield WARNING, f"No search shows them any more, but {where}. {pending_store.reason} {AFTERWARDS}"
    yield from failures(action, results)


def failures(action: PrivacyAction, results: Sequence[Result[Any]]) -> Iterator[tuple[int, str]]:
    """What went wrong."""
    for reason, user_ids in _grouped((result.reason, result.user_id) for result in results if result.done is None):
        yield ERROR, f"{action.noun} failed for {_named(user_ids)}: {reason}"


def _grouped(pairs: Iterable[tuple[T, UUID]]) -> Iterator[tuple[T, list[UUID]]]:
    groups: dict[T, list[UUID]] = defaultdict(list)
    for key, user_id in pairs:
        groups[key].append(user_id)
    return iter(groups.items())


def _named(user_ids: list[UUID]) -> str:
    return ", ".join(map(str, user_ids))
