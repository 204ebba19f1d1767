"""Every owner yields the addresses of a user's files, and of no other user's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.db.models import Q

from privacy.declarations import Category, Disposition, Link, LinkKind, PersonalData, TableDeclaration
from privacy.purposes import ACCOUNT
from privacy.registry import PersonalDataOwner, registry
from tests.privacy.checks.owner import Owner
from tests.privacy.life import full_life

pytestmark = pytest.mark.django_db


def declared(owner: PersonalDataOwner) -> Iterator[tuple[Any, PersonalData, list[str]]]:
    for label, table in owner.tables.items():
        links = [link.field for link in table.links if link.kind in (LinkKind.FOREIGN_KEY, LinkKind.ID)]
        yield from ((apps.get_model(label), part, links) for part in table.data if part.files)


def test_files__are_the_values_of_the_fields_that_are_declared() -> None:
    person, other = full_life(), full_life(email="other@example.org")
    found = set()
    for owner in registry.owners:
        expected = set()
        for model, part, links in declared(owner):
            rows = model._base_manager.filter(Q(*[(link, person.pk) for link in links], _connector=Q.OR))
            values = [value for name in part.fields for value in rows.values_list(name, flat=True)]
            assert any(values), (owner.section, part.fields)
            expected |= {value for value in values if value}
        assert set(owner.files(person.pk)) == expected, owner.section
        found |= expected
    assert {address.rpartition("/")[2] for address in found} >= {"wilhelmina-quux.mp4", "wilhelmina-quux.jpg", "quux.webm"}
    assert len(list(registry_files(other.pk))) == len(list(registry_files(person.pk)))


def registry_files(user_id: Any) -> Iterator[str]:
    return (address for owner in registry.owners for address in owner.files(user_id))


def test_files__without_a_link_that_finds_them__is_an_error() -> None:
    """Otherwise an erasure would leave the files unnoticed."""
    owner = Owner("films", {})
    films = PersonalData(fields=("username",), category=Category.MEDIA, purpose=ACCOUNT, anonymize=Disposition.DELETED, files="films")
    owner.tables = {"axes.AccessLog": TableDeclaration(links=(Link("username", LinkKind.TEXT),), data=(films,))}
    with pytest.raises(NotImplementedError, match=r"^Owner has files in axes\.AccessLog, and no link that finds them$"):
        list(owner.files(uuid4()))
