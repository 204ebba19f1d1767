"""The four privacy actions, and the words that the admin has for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from privacy.actions.anonymize import anonymize, preview_anonymization
from privacy.actions.erase import erase, preview_erasure, preview_soft_deletion, soft_delete
from privacy.actions.export import count_entries
from privacy.actions.outcome import Outcome
from privacy.registry import Effect


@dataclass(frozen=True, slots=True)
class PrivacyAction:
    """One action: ``permission`` is a codename of accounts; ``perform`` is None for the export, which gives a file instead."""

    slug: str
    permission: str
    title: str
    noun: str
    explanation: str
    done: str
    """What the messages say of a person it was done to."""
    preview: Callable[[UUID], list[Effect]] | Callable[[UUID], dict[str, int]]
    perform: Callable[..., Outcome] | None = None
    """Takes the id of the person, and as ``actor_id`` that of the superuser or member of the staff who does it."""
    needs_stores: bool = True
    """Cannot be done while a store is out of reach."""
    is_final: bool = False
    """Asks for more than a click."""

    @property
    def removes(self) -> bool:
        """Takes the account away."""
        return self.perform is not None


EXPORT = PrivacyAction(
    slug="export",
    permission="export_personal_data",
    title="Export personal data",
    noun="The export",
    explanation="All that is held about the person, in a zip of JSON files. Other people appear in it as ids only, and no password hash does.",
    done="exported the personal data",
    preview=count_entries,
)
ANONYMIZE = PrivacyAction(
    slug="anonymize",
    permission="anonymize_user",
    title="Anonymize",
    noun="The anonymization",
    explanation="What identifies the person is cleared, in every table, and cannot be brought back. Their matches and calls stay, for statistics.",
    done="anonymized",
    preview=preview_anonymization,
    perform=anonymize,
)
SOFT_DELETE = PrivacyAction(
    slug="soft-delete",
    permission="soft_delete_user",
    title="Soft delete",
    noun="The soft deletion",
    explanation="Nobody sees the person any more, in no search, and they cannot log in. All that is held about them stays.",
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
    explanation="The person, the rows that hang on them and what else FindMe's stores hold of them are deleted. This cannot be undone.",
    done="deleted for good",
    preview=preview_erasure,
    perform=erase,
    is_final=True,
)

ACTIONS = {action.slug: action for action in (EXPORT, ANONYMIZE, SOFT_DELETE, ERASE)}
