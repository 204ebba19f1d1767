"""Other persons in an export: an id or an address becomes a pseudonym of this export only (GDPR, article 15 (4))."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b32encode
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.auth import get_user_model

from findme.core.values.exact_json import RawJSON
from privacy.declarations import Category, LinkKind
from privacy.registry import PersonalDataOwner
from privacy.shared_data import replace_strings

_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<![0-9a-z])[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}(?![0-9a-z])",
    re.IGNORECASE,
)
# Without the lookbehinds and the possessive quantifiers, a text of a million letters and one "@" takes an hour.
_EMAIL = re.compile(
    r"(?<![\w.!#$%&'*+/=?^`{|}~-])[\w.!#$%&'*+/=?^`{|}~-]++@[\w-]++(?:\.[\w-]++)+|(?<![\w.+-])[\w.+-]++%40[\w-]++(?:\.[\w-]++)+"
)
SHORTEST_ID = 32
IDS = (LinkKind.FOREIGN_KEY, LinkKind.ID)

Section = Mapping[str, Any] | Iterable[Mapping[str, Any]]


class Pseudonyms:
    """Replaces other persons in the rows of one export. The same person has the same pseudonym in it.

    A pseudonym is computed from the id with a random key, which is forgotten after the export. So memory does not grow, and no reader can compute the id.
    """

    def __init__(self, user_id: UUID, own_address: str) -> None:
        self._own_id, self._own_address = user_id, own_address.casefold()
        self._key = secrets.token_bytes(32)

    @classmethod
    def for_user(cls, user_id: UUID) -> Pseudonyms:
        return cls(user_id, get_user_model().objects.filter(pk=user_id).values_list("email", flat=True).first() or "")

    def of_person(self, user_id: UUID) -> UUID | str:
        """Return the user's own id, or the pseudonym of another person."""
        return user_id if user_id == self._own_id else f"person-{self._digest(user_id.bytes)}"

    def in_section(self, owner: PersonalDataOwner, section: Section) -> Section:
        """Return the section with pseudonyms. Rows are replaced one by one, while they are read."""
        rules = _Rules(owner, self)
        if isinstance(section, Mapping):
            return rules.in_row(section)
        return (rules.in_row(row) for row in section)

    def in_text(self, text: str) -> str:
        """Return the text with a pseudonym for each id and each e-mail address that is not the user's own."""
        if len(text) >= SHORTEST_ID:
            text = _ID.sub(lambda found: str(self._of_text(found[0])), text)
        return _EMAIL.sub(lambda found: self._of_address(found[0]), text) if "@" in text or "%40" in text else text

    def _of_text(self, text: str) -> str:
        user_id = UUID(text)
        return text if user_id == self._own_id else str(self.of_person(user_id))

    def _of_address(self, address: str) -> str:
        folded = address.casefold().replace("%40", "@")
        return address if folded == self._own_address else f"address-{self._digest(folded.encode())}"

    def _digest(self, content: bytes) -> str:
        return b32encode(hmac.digest(self._key, content, hashlib.sha256)[:10]).decode().lower()


class _Rules:
    """What the declarations of an owner say about the names in its rows."""

    def __init__(self, owner: PersonalDataOwner, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._persons: set[str] = set()
        """The columns with the id of a user. A primary key is that of the user whose data these are."""
        self._own: set[str] = set()
        """The columns with addresses of the user and of the user's files, or with ids of the software, such as that of a call."""
        for label, table in owner.tables.items():
            model = apps.get_model(label)
            columns = {name: getattr(model._meta.get_field(name), "attname", name) for name in table.fields}
            links = {link.field for link in table.links}
            key = model._meta.pk.name if model._meta.pk else ""
            self._persons |= {columns[link.field] for link in table.links if link.kind in IDS and link.field != key}
            own = {name for part in table.data if part.files or part.category is Category.CONTACT for name in part.fields}
            own |= {name for name in columns if name.endswith("_id") and name not in links}
            self._own |= {columns[name] for name in own}

    def in_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._value(name, value) for name, value in row.items()}

    def _value(self, name: str, value: Any) -> Any:
        match value:
            case UUID():
                return self._pseudonyms.of_person(value) if name in self._persons else value
            case RawJSON():
                return replace_strings(value, self._pseudonyms.in_text)
            case str():
                return value if name in self._own else self._pseudonyms.in_text(value)
            case Mapping() if _is_row(value):
                return self.in_row(value)
            case list() if value and _is_row(value[0]):
                return [self.in_row(row) for row in value]
            case dict() | list() if value:
                return replace_strings(value, self._pseudonyms.in_text)
        return value


def _is_row(value: object) -> bool:
    """Return whether a value is a row of a table, and not a JSON document: only a row has times and UUIDs."""
    return isinstance(value, Mapping) and not all(isinstance(inner, str | int | float | list | dict | None) for inner in value.values())
