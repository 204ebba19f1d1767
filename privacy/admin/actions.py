"""The four privacy actions and their texts in the admin."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from uuid import UUID

from privacy.actions.anonymize import anonymize, preview_anonymization
from privacy.actions.erase import erase, preview_erasure, preview_soft_deletion, soft_delete
from privacy.actions.export import count_entries
from privacy.actions.group_size import NO_ERASURE, describe_groups
from privacy.actions.outcome import Outcome
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

    @property
    def removes(self) -> bool:
        """Return whether the action removes the account."""
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

ACTIONS = {action.slug: action for action in (EXPORT, ANONYMIZE, SOFT_DELETE, ERASE)}
