"""The results of a privacy action, as messages: people by their id alone, since a message travels in a cookie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from uuid import UUID

from django.contrib.messages import ERROR, SUCCESS, WARNING

from privacy.admin.actions import PrivacyAction
from privacy.admin.doing import Result
from privacy.outcome import Outcome

AFTERWARDS = "When it answers again, manage.py sync_qdrant --once removes them."


def told(action: PrivacyAction, results: list[Result[Outcome]]) -> Iterator[tuple[int, str]]:
    """Level and text of each message: those it was done to in one, and the others by what is the matter."""
    done = [result.user_id for result in results if result.done is not None]
    if done:
        yield SUCCESS, f"{action.done.capitalize()}: {_named(done)}."
    left = ((f"{one.store}: {one.reason}", result.user_id) for result in results if result.done for one in result.done.left_in)
    for where, user_ids in _grouped(left):
        yield WARNING, f"No search shows them any more, but their points may still be there: {_named(user_ids)}. {AFTERWARDS} The {where}"
    yield from not_done(action, results)


def not_done(action: PrivacyAction, results: list[Result[Outcome]] | list[Result[int]]) -> Iterator[tuple[int, str]]:
    for reason, user_ids in _grouped((result.reason, result.user_id) for result in results if result.done is None):
        yield ERROR, f"{action.title}: not done, and nothing has changed, for {_named(user_ids)}. {reason}"


def _grouped(pairs: Iterator[tuple[str, UUID]]) -> Iterator[tuple[str, list[UUID]]]:
    groups: dict[str, list[UUID]] = defaultdict(list)
    for text, user_id in pairs:
        groups[text].append(user_id)
    return iter(groups.items())


def _named(user_ids: list[UUID]) -> str:
    return ", ".join(map(str, user_ids))
