"""The results of a privacy action, as messages: people by their id alone, since a message travels in a cookie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.contrib.messages import ERROR, SUCCESS, WARNING

from privacy.actions.outcome import Outcome
from privacy.admin.actions import PrivacyAction
from privacy.admin.execution import Result

T = TypeVar("T")

AFTERWARDS = "Afterwards manage.py sync_qdrant --once removes what is left."


def told(action: PrivacyAction, results: list[Result[Outcome]]) -> Iterator[tuple[int, str]]:
    """Level and text of each message: those it was done to in one, and the others by what is the matter."""
    done = [result.user_id for result in results if result.done is not None]
    if done:
        yield SUCCESS, f"{action.done.capitalize()}: {_named(done)}."
    left = ((left_in, result.user_id) for result in results if result.done for left_in in result.done.left_in)
    for left_in, user_ids in _grouped(left):
        where = f"the {left_in.store} may still hold {_named(user_ids)}"
        yield WARNING, f"No search shows them any more, but {where}. {left_in.reason} {AFTERWARDS}"
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
