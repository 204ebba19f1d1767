"""What an owner declares about its personal data: the source of the system checks, the exports and the register of processing.

One ``PersonalData`` covers fields with the same rules. A table has one ``TableDeclaration``, which also says how its rows lead to users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cached_property

ARTICLES = frozenset(
    {
        *(f"6(1)({letter})" for letter in "abcdef"),
        *(f"9(2)({letter})" for letter in "abcdefghij"),
    }
)
"""The legal bases of the GDPR: article 6 for all personal data, and article 9 in addition for special categories."""


class Disposition(StrEnum):
    """What happens to data when a user is removed, or shown again."""

    KEPT = "kept"
    HIDDEN = "hidden"
    HELD = "held"
    REDUCED = "reduced"
    SHOWN = "shown again"
    CLEARED = "cleared"
    DELETED = "deleted"


class Category(StrEnum):
    """A category of personal data (GDPR, articles 15 (1) (b) and 30 (1) (c))."""

    IDENTITY = "identity"
    CONTACT = "contact details"
    CREDENTIALS = "credentials and permissions"
    PROFILE = "profile"
    MEDIA = "videos and recordings"
    LIKENESS = "features of face and voice"
    LOCATION = "location"
    MATCHES = "matches"
    CALLS = "calls"
    LOGINS = "logins"
    STAFF_ACTIONS = "actions of staff"
    PRIVACY_RECORDS = "records of privacy actions"
    TECHNICAL = "technical records"


SOURCES = {
    Category.IDENTITY: "you, when you made your account",
    Category.CONTACT: "you",
    Category.CREDENTIALS: "you, and our staff, who grant permissions",
    Category.PROFILE: "you, and the verification of your videos",
    Category.MEDIA: "you, and the verification of your videos",
    Category.LIKENESS: "computed from your videos",
    Category.LOCATION: "you, or your device",
    Category.MATCHES: "computed by the service, and your answers",
    Category.CALLS: "you and the other person, while you use the service",
    Category.LOGINS: "your browser or your device, when you log in",
    Category.STAFF_ACTIONS: "our staff, while they use the administration",
    Category.PRIVACY_RECORDS: "you, and our staff who answer your requests",
    Category.TECHNICAL: "the software, while it processes your data",
}
"""Where the data of each category come from (GDPR, article 15 (1) (g)), said to the data subject."""


class Export(StrEnum):
    """What an export contains."""

    COMPLETE = "exported"
    OWN_PART = "the user's own part"
    NEVER = "not exported"


class LinkKind(StrEnum):
    """How a field leads to a user."""

    FOREIGN_KEY = "foreign key"
    ID = "id without a foreign key"
    TEXT = "text that contains the id or a digest of the address"
    CONTENT = "encoded content that names the user"
    ROW = "foreign key to a row that leads to the user"


@dataclass(frozen=True, slots=True)
class Purpose:
    """A purpose of processing (GDPR, article 30 (1) (b)) with its legal bases and the categories of data subjects.

    Raise ValueError for a legal basis that is not in ``ARTICLES``.
    """

    name: str
    legal_bases: tuple[str, ...]
    data_subjects: tuple[str, ...] = ("users",)
    automated_decisions: str = ""
    """What is decided without a person, by which logic and with which consequences (article 15 (1) (h)), said to the data subject."""

    def __post_init__(self) -> None:
        unknown = [basis for basis in self.legal_bases if basis not in ARTICLES]
        if unknown or not self.legal_bases:
            raise ValueError(f"purpose {self.name!r} needs legal bases of articles 6 or 9, and has {list(self.legal_bases)}")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long data are kept: with the row of the user, or for ``period`` after ``since``."""

    since: str
    period: timedelta | None = None

    def __str__(self) -> str:
        return self.since if self.period is None else f"{self.period.days} days after {self.since}"


WITH_ACCOUNT = Retention("until the account is erased")
"""The retention of data that belong to the user's account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalData:
    """The declaration of fields with the same rules.

    ``export``, ``anonymize`` and ``erase`` say what these actions do to the fields. ``recipients`` are categories of recipients, other than
    staff. ``reason`` says why the fields are not exported completely. ``files`` is a plural noun for what the fields lead to, if
    they hold addresses of files.
    """

    fields: tuple[str, ...]
    category: Category
    purpose: Purpose
    retention: Retention = WITH_ACCOUNT
    recipients: tuple[str, ...] = ()
    export: Export = Export.COMPLETE
    reason: str = ""
    anonymize: Disposition
    erase: Disposition = Disposition.DELETED
    files: str = ""

    def __post_init__(self) -> None:
        if (self.export is Export.COMPLETE) == bool(self.reason):
            raise ValueError(f"the fields {', '.join(self.fields)} need a reason exactly if they are not exported completely")


@dataclass(frozen=True, slots=True)
class Link:
    """A field through which rows lead to a user.

    ``erase`` says what an erasure does to the rows that this field finds, if it differs from the declarations of their fields.
    """

    field: str
    kind: LinkKind = LinkKind.FOREIGN_KEY
    erase: Disposition | None = None


@dataclass(frozen=True)
class TableDeclaration:
    """The declarations of one table. Every field of its model is in exactly one of ``data``."""

    links: tuple[Link, ...]
    data: tuple[PersonalData, ...]

    @cached_property
    def fields(self) -> frozenset[str]:
        return frozenset(name for part in self.data for name in part.fields)

    def repeated(self) -> Iterator[str]:
        """Yield the fields that are in more than one of ``data``."""
        seen: set[str] = set()
        for part in self.data:
            for name in part.fields:
                if name in seen:
                    yield name
                seen.add(name)
