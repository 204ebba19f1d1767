"""The declarations say what really happens: an export, an anonymization and an erasure do to each field what its owner declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.contrib.sessions.backends.db import SessionStore
from pytest_django import Settings

from accounts.login.attempts import find_account, record_failure, record_login
from accounts.login.personal_data import keys_of
from accounts.models import User
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from privacy.actions.export import export_sections
from privacy.actions.holds import hold, release
from privacy.audit import Action, record
from privacy.declarations import Disposition, Export, Link, LinkKind, PersonalData, TableDeclaration
from privacy.ledger.book import NewEntry
from privacy.ledger.entry import Kind
from privacy.ledger.keys import subject_keys
from privacy.ledger.publication import record_entries
from privacy.models import DataSubjectRequest, Erasure, KeptExport, PendingAction
from privacy.models.holds import Article, Section
from privacy.models.request_choices import Kind as RequestKind
from privacy.models.request_choices import Method
from privacy.registry import PersonalDataOwner, registry
from privacy.requests import steps
from tests.privacy.erasures.rows import end, insert_erasure
from tests.privacy.life import full_life, working_life
from tests.support.collections import live as live
from vectorstore.models import QuarantinedUser, QueueEntry, StoreState, VectorImport
from vectorstore.sync.inline import sync_users

pytestmark = pytest.mark.django_db(transaction=True)

CHANGED_BY_TRIGGERS = {"updated_at"}
"""Fields that are kept and whose value an anonymization sets all the same: the time of the change."""
SET_ONCE = {"deleted_at"}
"""Fields that are kept if they have a value, and else get the time of the anonymization."""
OTHER_NAMES = {("privacy.ErasedUser", "erased_at"): "anonymized_at"}
"""Names in the export that differ from the names of the columns."""

EMPTY: tuple[object, ...] = (None, "", {}, False)
NETWORK = "192.0.2.7"
Row = dict[str, Any]


@pytest.fixture
def user(live: str, settings: Settings) -> User:
    """Return a user with rows in every table that an owner declares, and a point."""
    settings.REQUEST_RECIPIENTS = ["film-storage"]
    person = full_life()
    working_life(person)
    record_failure(person.email, find_account(person.email), NETWORK)
    record_login(person, NETWORK)
    record(Action.EXPORT, person.pk, actor_id=None)
    make_requests(person)
    release(hold(person.pk, Section.CALLS, Article.LEGAL_CLAIMS, actor_id=person.pk).pk, actor_id=person.pk)
    KeptExport.objects.create(user_id=person.pk, made_by_id=person.pk)
    sync_users([person.pk])
    record_entries([NewEntry(Kind.OBJECT, person.pk)])
    PendingAction.objects.create(user_id=person.pk, kind=Kind.OBJECT)
    end(insert_erasure(user_id=person.pk), "stopped")
    end(insert_erasure(user_id=None, user_ids=[person.pk]), "stopped")
    QueueEntry.objects.create(user_id=person.pk)
    QuarantinedUser.objects.create(user_id=person.pk, reason="a reason", collection=live)
    VectorImport.objects.create(place="http://127.0.0.1:6333", collection="old", last_point=str(person.pk))
    state = StoreState.current()
    state.checkpoint = state.pending_checkpoint = {"newest": {live: [[str(person.pk), 7]]}}
    state.save()
    person.refresh_from_db()
    return person


def make_requests(person: User) -> None:
    """Make a request of the user that the user recorded as a member of staff, and one that the user approved."""
    first, second = (
        steps.record(RequestKind.RECTIFICATION, user_id=person.pk, contact="ann@example.com", actor_id=person.pk),
        steps.record(RequestKind.ACCESS, contact="bob@example.com", actor_id=uuid4()),
    )
    for request in (first, second):
        steps.confirm_identity(request.pk, Method.LOGIN, actor_id=person.pk)
    steps.approve(first.pk, actor_id=uuid4())
    steps.approve(second.pk, actor_id=person.pk)


def tables() -> Iterator[tuple[PersonalDataOwner, Any, TableDeclaration]]:
    for owner in registry.owners:
        for label, table in owner.tables.items():
            yield owner, apps.get_model(label), table


def parts() -> Iterator[tuple[PersonalDataOwner, Any, PersonalData, str]]:
    return ((owner, model, part, name) for owner, model, table in tables() for part in table.data for name in part.fields)


def rows(model: Any, link: Link, user_id: UUID) -> dict[Any, Row]:
    """Return the rows that the link finds, by primary key, with the ids of many-to-many fields."""
    columns = [field.attname for field in model._meta.local_concrete_fields]
    found = {row["pk"]: row for row in model._base_manager.values("pk", *columns)}
    wanted = {key for key, row in found.items() if _leads_to(row[model._meta.get_field(link.field).attname], link, user_id)}
    many = model._meta.local_many_to_many
    return {
        key: found[key]
        | {field.name: sorted(getattr(model._base_manager.get(pk=key), field.name).values_list("pk", flat=True)) for field in many}
        for key in wanted
    }


def _leads_to(value: Any, link: Link, user_id: UUID) -> bool:
    match link.kind:
        case LinkKind.FOREIGN_KEY | LinkKind.ID:
            return bool(value == user_id)
        case LinkKind.TEXT:
            return str(value) in keys_of(user_id)
        case LinkKind.ROW:
            return any(model.objects.filter(pk=value, user_id=user_id).exists() for model in (DataSubjectRequest, Erasure))
        case LinkKind.CONTENT if isinstance(value, memoryview | bytes):
            return bytes(value) in subject_keys().subjects(user_id)
        case LinkKind.CONTENT:
            decoded = SessionStore().decode(value) if isinstance(value, str) else value
            return str(user_id) in str(decoded)


# --- Export -----------------------------------------------------------------------------------------------------------------------


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_export__has_each_field_that_is_declared_and_no_other(user: User) -> None:
    # An export of an anonymized user has the entry of the anonymization as well.
    exported = export_sections(user.pk)
    by_section: dict[str, set[str]] = {section: set(keys(value)) for section, value in exported.items()}
    for owner, model, part, name in parts():
        names = {OTHER_NAMES.get((model._meta.label, name), name), getattr(model._meta.get_field(name), "attname", name)}
        is_exported = bool(names & by_section[owner.section])
        assert is_exported == (part.export is not Export.NEVER), (model._meta.label, name)


def test_export__has_each_field_of_the_point(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_staff=False, is_superuser=False)  # staff have no point
    sync_users([user.pk])
    point = export_sections(user.pk)["vector_store"]["point"]
    (store,) = registry.stores
    assert {*point["payload"], "vector"} == {name for part in store.data for name in part.fields} == store.stored_fields()


# --- Anonymization and erasure ----------------------------------------------------------------------------------------------------


def test_fixture__has_a_row_for_every_link(user: User) -> None:
    """Otherwise the next tests would compare nothing. An erased user is recorded only later."""
    without = [(model._meta.label, link.field) for _, model, table in tables() for link in table.links if not rows(model, link, user.pk)]
    assert without == [("vectorstore.SyncLease", "user_id"), ("privacy.ErasedUser", "user_id")]


def test_anonymization__does_to_each_field_what_is_declared(user: User) -> None:
    before = {(model, link): rows(model, link, user.pk) for _, model, table in tables() for link in table.links}
    all_before = {model: _all(model) for _, model, _ in tables()}
    anonymize(user.pk)
    for _, model, table in tables():
        after = _all(model)
        for link in table.links:
            for key, row in before[model, link].items():
                for part in table.data:
                    for name in part.fields:
                        check(model, name, part.anonymize, row, after.get(key))
        untouched = all_before[model].keys() - {key for link in table.links for key in before[model, link]}
        assert untouched <= after.keys(), model


def test_erasure__does_to_each_row_what_is_declared(user: User) -> None:
    before = {(model, link): rows(model, link, user.pk) for _, model, table in tables() for link in table.links}
    erase(user.pk)
    for _, model, table in tables():
        after = _all(model)
        for link in table.links:
            for key, row in before[model, link].items():
                for part in table.data:
                    for name in part.fields:
                        by_user = any(key in before[model, other] for other in table.links if other.erase is None)
                        expected = part.erase if by_user or link.erase is None else link.erase
                        check(model, name, expected, row, after.get(key))


def _all(model: Any) -> dict[Any, Row]:
    columns = [field.attname for field in model._meta.local_concrete_fields]
    many = model._meta.local_many_to_many
    return {
        row["pk"]: row
        | {field.name: sorted(getattr(model._base_manager.get(pk=row["pk"]), field.name).values_list("pk", flat=True)) for field in many}
        for row in model._base_manager.values("pk", *columns)
    }


def comparable(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def check(model: Any, name: str, disposition: Disposition, before: Row, after: Row | None) -> None:
    place = f"{model._meta.label}.{name}: {disposition}"
    field = model._meta.get_field(name)
    column = getattr(field, "attname", name)
    if disposition is Disposition.DELETED:
        assert after is None or (field.many_to_many and after[column] == [] != before[column]), place
        return
    assert after is not None, place
    if disposition is Disposition.CLEARED:
        assert after[column] != before[column] or before[column] in EMPTY, place
    elif disposition is Disposition.REDUCED:
        assert after[column] == before[column].replace(month=1, day=1) != before[column], place
    elif name not in CHANGED_BY_TRIGGERS and not (name in SET_ONCE and before[column] is None):
        assert comparable(after[column]) == comparable(before[column]), place
