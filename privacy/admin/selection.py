"""Users of a privacy page, and the preview for each."""

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

MAX_USERS = 50
"""Most users per page: with more, the page would take too long. The commands accept any number, one by one."""


@dataclass(frozen=True, slots=True)
class Selected:
    """One selected user. With a ``denial_reason``, the action skips the user."""

    user_id: UUID
    email: str
    denial_reason: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """Preview for one user. ``lines``: noun, count (None: unknown), and disposition. ``note`` is a sentence of the action about the user."""

    user: Selected
    lines: tuple[tuple[str, int | None, str], ...] = ()
    note: str = ""


def parse_user_ids(texts: Iterable[str]) -> list[UUID]:
    """Return the distinct UUIDs in ``texts``. Raise UserFacingError for none, for too many, or for an invalid UUID."""
    try:
        user_ids = list(dict.fromkeys(UUID(text) for text in texts))
    except ValueError as error:
        raise UserFacingError("The URL of this page has a user that is not a UUID. Select users in the list.") from error
    if not user_ids:
        raise UserFacingError("No user is selected. Select users in the list.")
    if len(user_ids) > MAX_USERS:
        raise UserFacingError(f"{len(user_ids)} users are selected: at most {MAX_USERS} at a time. Select fewer.")
    return user_ids


def select(actor: Any, action: PrivacyAction, user_ids: list[UUID]) -> list[Selected]:
    """Return the selected users in the order of ``user_ids``, with the reasons for a denial."""
    users = get_user_model()._base_manager.only("pk", "email", "is_staff", "is_superuser").in_bulk(user_ids)
    return [_selected(actor, action, user_id, users.get(user_id)) for user_id in user_ids]


def _selected(actor: Any, action: PrivacyAction, user_id: UUID, user: Any) -> Selected:
    if user is None:
        return Selected(
            user_id,
            "",
            f"PostgreSQL has no user with this id. If the vector store still has a point, run: manage.py erase_user {user_id} --hard",
        )
    return Selected(user_id, user.email, denial_reason(actor, user, removes=action.removes))


def preview(action: PrivacyAction, users: list[Selected]) -> tuple[list[Preview], str | None]:
    """Return the preview of each user, and the error of an unavailable store (None: all are available).

    All users share one session with the stores. Without it, the previews of several users are empty, because each would wait for the stores.
    """
    several = len(users) > 1
    try:
        with store_sessions():
            previews = [_preview_of(action, user, short=several) for user in users]
            return _with_notes(action, previews), None
    except UserFacingError as error:
        if several or action.needs_stores:
            return [Preview(user) for user in users], one_line(error)
        return [_preview_of(action, user, short=False) for user in users], one_line(error)


def _with_notes(action: PrivacyAction, previews: list[Preview]) -> list[Preview]:
    if action.notes is None:
        return previews
    notes = action.notes([preview.user.user_id for preview in previews if preview.user.denial_reason is None])
    return [replace(preview, note=notes.get(preview.user.user_id, "")) for preview in previews]


def _preview_of(action: PrivacyAction, user: Selected, *, short: bool) -> Preview:
    """Return the preview of one user, with ``short`` without lines that count 0. Raise StoreUnavailable."""
    if user.denial_reason is not None:
        return Preview(user)
    try:
        answer = action.preview(user.user_id)
    except StoreUnavailable:
        raise
    except UserFacingError as error:
        return Preview(replace(user, denial_reason=one_line(error)))
    return Preview(user, tuple(line for line in _lines(answer) if not short or line[1] != 0))


def _lines(answer: list[Effect] | dict[str, int]) -> Iterator[tuple[str, int | None, str]]:
    if isinstance(answer, dict):
        return ((name, entries, "in the zip") for name, entries in answer.items())
    return ((effect.what, effect.count, str(effect.disposition)) for effect in answer)
