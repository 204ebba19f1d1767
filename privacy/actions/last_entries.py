"""The last entry of each subject and action, and what it says about a user. A user has a subject under each key, and the position decides."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from privacy.ledger.entry import Entry, Kind
from privacy.ledger.keys import SubjectKeys
from privacy.ledger.states import action_of


class LastEntries:
    """Read all entries of a ledger in order."""

    def __init__(self, keys: SubjectKeys) -> None:
        self._keys = keys
        self._kinds: defaultdict[bytes, dict[Kind, tuple[int, Kind]]] = defaultdict(dict)
        self._without_embedding: dict[bytes, int] = {}
        """Position of the last objection that deleted an embedding."""
        self._resumed: dict[bytes, int] = {}

    def add(self, entry: Entry) -> None:
        """Note the entry. Raise UserFacingError for an unknown key."""
        self._keys.key(entry.key_id)
        self._kinds[entry.subject][action_of(entry.kind)] = entry.position, entry.kind
        if entry.kind is Kind.OBJECT and entry.counts:
            self._without_embedding[entry.subject] = entry.position
        elif entry.kind is Kind.UNDO_OBJECT:
            self._resumed[entry.subject] = entry.position

    def kinds(self, user_id: UUID) -> dict[Kind, Kind]:
        """Return the kind of the user's last entry by action."""
        last: dict[Kind, tuple[int, Kind]] = {}
        for subject in self._keys.subjects(user_id):
            for action, found in self._kinds.get(subject, {}).items():
                last[action] = max(found, last.get(action, found))
        return {action: kind for action, (_position, kind) in last.items()}

    def is_without_embedding(self, user_id: UUID) -> bool:
        """Return whether the user's objection that counts has deleted the embedding."""
        subjects = self._keys.subjects(user_id)
        deleted, resumed = (max(found.get(subject, 0) for subject in subjects) for found in (self._without_embedding, self._resumed))
        return deleted > resumed
