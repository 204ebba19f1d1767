"""The privacy actions and their texts in the admin."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from privacy.actions.anonymize import anonymize, preview_anonymization
from privacy.actions.erase import erase, preview_erasure, preview_soft_deletion, soft_delete
from privacy.actions.export import count_entries
from privacy.actions.group_size import NO_ERASURE, describe_groups
from privacy.actions.outcome import Outcome
from privacy.actions.restriction import (
    lift_restriction,
    preview_lifting,
    preview_restriction,
    preview_resumption,
    preview_stop,
    restrict,
    resume_matching,
    stop_matching,
)
from privacy.models.request_choices import Processing
from privacy.registry import Effect


@dataclass(frozen=True, slots=True)
class PrivacyAction:
    """One privacy action. ``permission`` is a codename of ``accounts``."""

    slug: str
    permission: str
    title: str
    noun: str
    explanation: str
    done: str
    """Past participle for the messages."""
    preview: Callable[[UUID], list[Effect]] | Callable[[UUID], dict[str, int]]
    perform: Callable[..., Outcome] | None = None
    """Takes the user's id, and as ``actor_id`` the id of the staff member. None for the export, which returns a file."""
    needs_stores: bool = True
    """Whether the action needs every store to be available."""
    notes: Callable[[Collection[UUID]], dict[UUID, str]] | None = None
    """Returns a sentence about each user, for the preview and for the message afterwards."""
    is_final: bool = False
    """Whether the action asks for a typed confirmation."""
    asks_for_day: bool = False
    """Whether the action needs the day on which the user was informed. ``perform`` takes it as ``informed_on``."""
    applies: Callable[[Any], bool] = lambda _user: True
    """Whether the user's page has a link for the action."""

    @property
    def removes(self) -> bool:
        """Return whether the action changes the account, which staff may not do to their own."""
        return self.perform is not None


EXPORT = PrivacyAction(
    slug="export",
    permission="export_personal_data",
    title="Export personal data",
    noun="The export",
    explanation="All data about the user, as a zip of JSON files. Other users are pseudonyms in it, and it has no password hash.",
    done="exported the personal data",
    preview=count_entries,
)
ANONYMIZE = PrivacyAction(
    slug="anonymize",
    permission="anonymize_user",
    title="Anonymize",
    noun="The anonymization",
    explanation=f"Clears what identifies the user in every table. This cannot be undone. {NO_ERASURE}",
    done="anonymized",
    preview=preview_anonymization,
    perform=anonymize,
    notes=describe_groups,
)
SOFT_DELETE = PrivacyAction(
    slug="soft-delete",
    permission="soft_delete_user",
    title="Soft delete",
    noun="The soft deletion",
    explanation="Hides the user from every search and blocks the login. All data of the user stays.",
    done="deleted softly",
    preview=preview_soft_deletion,
    perform=soft_delete,
    needs_stores=False,
)
ERASE = PrivacyAction(
    slug="erase",
    permission="erase_user",
    title="Delete for good",
    noun="The deletion",
    explanation="Deletes the user, all rows that refer to the user, and the user's data in FindMe's other stores. This cannot be undone.",
    done="deleted for good",
    preview=preview_erasure,
    perform=erase,
    is_final=True,
)
RESTRICT = PrivacyAction(
    slug="restrict",
    permission="restrict_user",
    title="Restrict",
    noun="The restriction",
    explanation="Hides the user from every search and match. All data stays, and can be changed only for the user's own request (article 18).",
    done="restricted",
    preview=preview_restriction,
    perform=restrict,
    needs_stores=False,
    applies=lambda user: user.restricted_at is None,
)
LIFT_RESTRICTION = PrivacyAction(
    slug="lift-restriction",
    permission="restrict_user",
    title="Lift the restriction",
    noun="The lifting",
    explanation="Shows the user again. The user must have been informed before (article 18 (3)).",
    done="not restricted any more",
    preview=preview_lifting,
    perform=lift_restriction,
    needs_stores=False,
    asks_for_day=True,
    applies=lambda user: user.restricted_at is not None,
)
STOP_MATCHING = PrivacyAction(
    slug="stop-matching",
    permission="stop_matching_user",
    title="Stop the matching",
    noun="The stop",
    explanation="Hides the user from every search and match, after an objection or a withdrawal of consent. The account works otherwise.",
    done="not matched any more",
    preview=partial(preview_stop, processing=Processing.MATCHING),
    perform=stop_matching,
    needs_stores=False,
    applies=lambda user: user.objected_at is None,
)
DELETE_EMBEDDING = PrivacyAction(
    slug="delete-embedding",
    permission="stop_matching_user",
    title="Stop the matching and delete the embedding",
    noun="The deletion of the embedding",
    explanation="Hides the user from every search and match, and deletes the vector of face and voice with its row. This cannot be undone.",
    done="not matched any more, and without an embedding",
    preview=partial(preview_stop, processing=Processing.EMBEDDING),
    perform=partial(stop_matching, processing=Processing.EMBEDDING),
    needs_stores=False,
)
RESUME_MATCHING = PrivacyAction(
    slug="resume-matching",
    permission="stop_matching_user",
    title="Resume the matching",
    noun="The resumption",
    explanation="Shows the user again, after the user withdrew the objection or gave the consent again.",
    done="matched again",
    preview=preview_resumption,
    perform=resume_matching,
    needs_stores=False,
    applies=lambda user: user.objected_at is not None,
)

ACTIONS = {
    action.slug: action
    for action in (
        *(EXPORT, ANONYMIZE, SOFT_DELETE, ERASE),
        *(RESTRICT, LIFT_RESTRICTION, STOP_MATCHING, DELETE_EMBEDDING, RESUME_MATCHING),
    )
}
