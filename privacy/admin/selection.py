"""The people whom a page is about, and what will happen to each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from privacy.actions.stores import store_sessions
from privacy.admin.actions import PrivacyAction
from privacy.admin.permissions import denial_reason
from privacy.registry import Effect

MOST_PEOPLE = 50
"""More at once would keep the person at the page waiting too long; the commands take any number, one by one."""


@dataclass(frozen=True, slots=True)
class Selected:
    """One person whom the action is asked for; ``denial_reason`` says why the action skips them."""

    user_id: UUID
    email: str
    denial_reason: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """``lines``: what, how many (None: not known), and what becomes of it."""

    person: Selected
    lines: tuple[tuple[str, int | None, str], ...] = ()


def ids_from(texts: Iterable[str]) -> list[UUID]:
    """The UUIDs that TEXTS are, each once. Raises UserFacingError for none, too many, and a text that is no UUID."""
    try:
        user_ids = list(dict.fromkeys(UUID(text) for text in texts))
    except ValueError as error:
        raise UserFacingError(
            "The address of this page names somebody by something that is not a UUID. Choose people in the list."
        ) from error
    if not user_ids:
        raise UserFacingError("Nobody is selected. Choose people in the list.")
    if len(user_ids) > MOST_PEOPLE:
        raise UserFacingError(f"{len(user_ids)} people are selected: at most {MOST_PEOPLE} at a time.")
    return user_ids


def select(actor: Any, action: PrivacyAction, user_ids: list[UUID]) -> list[Selected]:
    """One for each of USER_IDS, in their order, with the reason for a denial."""
    people = get_user_model()._base_manager.only("pk", "email", "is_staff", "is_superuser").in_bulk(user_ids)
    return [_selected(actor, action, user_id, people.get(user_id)) for user_id in user_ids]


def _selected(actor: Any, action: PrivacyAction, user_id: UUID, person: Any) -> Selected:
    if person is None:
        return Selected(
            user_id, "", f"PostgreSQL knows nobody with this id. If the vector store still does: manage.py erase_user {user_id} --hard"
        )
    return Selected(user_id, person.email, denial_reason(actor, person, removes=action.removes))


def preview(action: PrivacyAction, people: list[Selected]) -> tuple[list[Preview], str | None]:
    """What will happen to each, and which store does not answer, and why (None: they all do).

    They are held for all the people together. Without them, what would have to wait for them once for each person is left out.
    """
    several = len(people) > 1
    try:
        with store_sessions():
            return [_preview_of(action, person, short=several) for person in people], None
    except UserFacingError as error:
        if several or action.needs_stores:
            return [Preview(person) for person in people], one_line(error)
        return [_preview_of(action, person, short=False) for person in people], one_line(error)


def _preview_of(action: PrivacyAction, person: Selected, *, short: bool) -> Preview:
    """SHORT leaves out what they have none of. Raises StoreUnavailable."""
    if person.denial_reason is not None:
        return Preview(person)
    try:
        answer = action.preview(person.user_id)
    except StoreUnavailable:
        raise
    except UserFacingError as error:
        return Preview(replace(person, denial_reason=one_line(error)))
    return Preview(person, tuple(line for line in _lines(answer) if not short or line[1] != 0))


def _lines(answer: list[Effect] | dict[str, int]) -> Iterator[tuple[str, int | None, str]]:
    if isinstance(answer, dict):
        return ((name, entries, "in the zip") for name, entries in answer.items())
    return ((effect.what, effect.count, str(effect.disposition)) for effect in answer)
