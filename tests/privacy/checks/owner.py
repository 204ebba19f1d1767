"""An owner of personal data for the tests of the system checks."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from privacy.declarations import Category, Disposition, Link, PersonalData, TableDeclaration
from privacy.purposes import ACCOUNT
from privacy.registry import Effect, PersonalDataOwner


def declared(*fields: str, files: str = "") -> PersonalData:
    return PersonalData(fields=fields, category=Category.PROFILE, purpose=ACCOUNT, anonymize=Disposition.KEPT, files=files)


class Owner(PersonalDataOwner):
    """Owns the fields, one declaration for each table, and the links of each table."""

    def __init__(self, section: str, fields: Mapping[str, Iterable[str]], **links: Iterable[str]) -> None:
        self.section = section
        self.tables = {
            label: TableDeclaration(links=tuple(map(Link, links.get(label.replace(".", "_"), ()))), data=(declared(*sorted(names)),))
            for label, names in fields.items()
        }

    def export(self, user_id: UUID) -> dict[str, Any]:
        return {}

    def anonymize(self, user_id: UUID) -> None: ...

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return []
